"""The whole catalogue as a CSV file among the owner's files; it can be imported again."""

from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.utils import timezone

from catalogue.models import Product
from catalogue.table import write_rows
from files import storing
from jobs.attempts import Attempt, Refused, step
from jobs.models import Work

BATCH = 200


async def run(attempt: Attempt, work: Work) -> None:
    if work.outcome is not None:
        return  # a worker was killed after the last write, and this is run once more
    table, rows = await _table()
    name = f"catalogue-{timezone.now():%Y-%m-%d-%H%M}.csv"
    try:
        async with storing.saved(work.owner_id, ContentFile(table)) as key, attempt.writing():
            file = await storing.record(work.owner_id, name, key)
            await attempt.note(outcome=file, result={"rows": rows})
    except (storing.NoRoom, PermissionDenied) as error:  # a guest since it was begun
        raise Refused(str(error)) from None


async def _table() -> tuple[bytes, int]:
    """A batch at a time, each where the last one ended: rows that come and go shift nothing."""
    products = Product.objects.select_related("category").order_by("pk")
    total, done, last = await products.acount(), 0, 0
    parts = [write_rows([], names=True)]
    while batch := await products.filter(pk__gt=last)[:BATCH].alist():
        parts.append(write_rows(batch))
        done, last = done + len(batch), batch[-1].pk
        await step(done, max(done, total), f"{done} products")
    return "".join(parts).encode("utf-8"), done
