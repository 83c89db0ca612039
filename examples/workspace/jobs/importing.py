"""Products from a CSV file: good rows come in, bad ones are named with their numbers.

Rows are written a batch at a time, each with the tally up to there. What was written before an
import was cancelled, or its process killed, stays; to import the file again changes nothing
that is as it says.
"""

from typing import Any

import onloop.files
from catalogue import importing
from catalogue.table import BadTable, Row, read_rows
from files.models import StoredFile
from jobs.attempts import Attempt, Refused, step
from jobs.models import Work

MAX_BYTES = 5 * 1024 * 1024
BATCH = 50
MAX_ERRORS = 100


async def run(attempt: Attempt, work: Work) -> None:
    if work.source is None:
        raise Refused("The file has been deleted.")
    text = await _read(work.source)
    tally: dict[str, Any] = {
        "rows": 0, "created": 0, "updated": 0, "unchanged": 0, "invalid": 0, "errors": []
    }  # fmt: skip
    await step(0, len(text), "Reading the first rows")
    seen: dict[str, int] = {}
    batch: list[Row] = []
    try:
        for row in read_rows(text):
            batch.append(row)
            if len(batch) == BATCH:
                await _write(attempt, batch, tally, seen)
                batch = []
                await step(row.end, len(text), f"{tally['rows']} rows")
    except BadTable as error:
        # What came before is good.
        await _write(attempt, batch, tally, seen)
        raise Refused(str(error)) from None
    await _write(attempt, batch, tally, seen)
    await step(len(text), len(text), f"{tally['rows']} rows")


async def _read(file: StoredFile) -> str:
    if file.size > MAX_BYTES:
        raise Refused(f"The file has more than {MAX_BYTES // 1024**2} MiB.")
    try:
        async with await onloop.files.storage().aopen(file.content.name) as content:
            return (await content.aread()).decode("utf-8-sig")
    except FileNotFoundError:
        raise Refused("The file has been deleted.") from None
    except UnicodeDecodeError:
        raise Refused("The file is no text in UTF-8.") from None


async def _write(
    attempt: Attempt, batch: list[Row], tally: dict[str, Any], seen: dict[str, int]
) -> None:
    """One transaction: the products, and the tally that counts them."""
    good = []
    async with attempt.writing():
        known = await importing.category_ids()
        for row in batch:
            text = row.error or _fault(row, known, seen)
            if not text:
                seen[row.item.sku] = row.number
                good.append(row.item)
                continue
            tally["invalid"] += 1
            if len(tally["errors"]) < MAX_ERRORS:
                tally["errors"].append({"row": row.number, "text": text})
        tally["rows"] += len(batch)
        for name, number in (await importing.upsert(good, known)).items():
            tally[name] += number
        await attempt.note(result=tally)


def _fault(row: Row, categories: dict[str, int], seen: dict[str, int]) -> str:
    """What is wrong with a row that can be read by itself."""
    if row.item.sku in seen:
        return f"sku: {row.item.sku} is in row {seen[row.item.sku]} already."
    if row.item.category not in categories:
        return f"category: There is no category “{row.item.category}”."
    return ""
