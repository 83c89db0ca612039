"""SQLite: `QuerySet.iterator()` leaves its rows in the database until they are asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, connection, connections, transaction

import onloop
from onloop import bridge
from tests.database import TestDatabases
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import anames, assert_all_back
from .sqlite import (
    ALL_TIME_MS,
    NO_TIME_MS,
    NUMBERS,
    OtherProcess,
    Probe,
    happened,
    inline_ms,
    refused,
)

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

NAMES = [f"{n:03}" for n in range(200)]
ROWS = f"{NUMBERS} SELECT probe(n) FROM numbers"
EACH = 5000


async def fill(alias: str = "default") -> None:
    await Author.objects.using(alias).abulk_create(Author(name=name) for name in NAMES)


def ordered(alias: str = "default") -> Any:
    return Author.objects.using(alias).order_by("name")


def chunks(sql: str, size: int) -> Any:
    """A cursor as iterators have it; rows by hand, since `probe` is no model's."""
    cursor = connection.chunked_cursor()
    cursor.execute(sql)
    while some := cursor.fetchmany(size):
        yield [row[0] for row in some]
    cursor.close()


def first_and_rest(size: int) -> tuple[list[Any], list[Any]]:
    parts = chunks(ROWS, size)
    first = next(parts)
    return first, [row for part in parts for row in part]


async def test_an_iterator_does_not_read_ahead_of_its_chunk(probe: Probe) -> None:
    async with inline_ms(ALL_TIME_MS):
        parts = chunks(ROWS, 100)
        assert await bridge.run(next, parts) == list(range(1, 101))
        assert probe.on_loop <= 101
        await bridge.run(parts.close)


async def test_an_iterator_gives_each_row_once_and_its_connection_back() -> None:
    await fill()
    assert [author.name async for author in ordered().aiterator(chunk_size=7)] == NAMES
    assert connection.connection is None
    await assert_all_back()


@pytest.mark.parametrize("closed", [True, False])
async def test_an_iterator_that_is_broken_off_gives_its_connection_back(closed: bool) -> None:
    await fill()
    rows = ordered().aiterator(chunk_size=7)
    async for _ in rows:
        break
    if closed:
        await rows.aclose()
    del rows
    # Django's own generators are closed by the loop, when it hears that nobody has them.
    await eventually(lambda: connection.connection is None)
    await assert_all_back()


async def test_other_scopes_write_while_an_iterator_is_open() -> None:
    await fill()
    rows = ordered().aiterator(chunk_size=7)
    await anext(rows)
    async with onloop.scope():
        await Author.objects.filter(name="199").adelete()
    assert [author.name async for author in rows] == NAMES[1:]  # as it was when it began
    assert await Author.objects.acount() == 199


async def test_what_an_iterator_gives_may_be_saved_while_others_write() -> None:
    """With WAL a reader whose snapshot is out of date cannot write: SQLITE_BUSY_SNAPSHOT."""
    await fill()
    other = OtherProcess(Path(connections.settings["default"]["NAME"]))
    seen = []
    async for author in ordered().aiterator(chunk_size=7):
        if author.name in {"003", "050"}:
            other.execute(f"INSERT INTO library_author (name) VALUES ('{author.name} other')")
        seen.append(author.name)
        author.name += "!"
        await author.asave()
    other.end()
    assert seen == NAMES
    assert sorted(await anames()) == sorted(
        [f"{name}!" for name in NAMES] + ["003 other", "050 other"]
    )
    await assert_all_back()


async def test_blocks_and_executemany_inside_an_iterator_do_not_mind_other_writers() -> None:
    await fill()
    other = OtherProcess(Path(connections.settings["default"]["NAME"]))

    def many(name: str) -> None:
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO library_author (name) VALUES (%s)", [(name,)])

    seen = []
    async for author in ordered().aiterator(chunk_size=7):
        seen.append(author.name)
        if author.name in {"003", "005"}:
            other.execute(f"INSERT INTO library_author (name) VALUES ('{author.name} other')")
        if author.name == "003":
            async with transaction.atomic():
                await Author.objects.acreate(name="block")
        if author.name == "005":
            await bridge.run(many, "many")
    other.end()
    assert seen == NAMES
    assert await Author.objects.acount() == 204


async def test_an_iterator_inside_a_block_streams_too(probe: Probe) -> None:
    async with inline_ms(ALL_TIME_MS), transaction.atomic():
        first, rest = await bridge.run(first_and_rest, 1000)
        assert first + rest == list(range(1, EACH + 1))
    assert (probe.on_loop, probe.in_worker) == (EACH, 0)


async def test_an_iterator_that_is_slow_to_its_first_rows_begins_again_in_a_worker(
    probe: Probe,
) -> None:
    async with inline_ms(NO_TIME_MS):
        first, rest = await bridge.run(first_and_rest, 3000)
        assert first + rest == list(range(1, EACH + 1))
        on_loop = probe.on_loop
        assert 0 < on_loop < EACH
        assert probe.in_worker == EACH
        await bridge.run(first_and_rest, 3000)
        assert probe.on_loop == on_loop  # the text is known
    await assert_all_back()


async def test_later_rows_of_an_iterator_are_not_fetched_twice(probe: Probe) -> None:
    """A chunk that proves slow is fetched to its end; those after it come from a worker."""
    async with inline_ms(NO_TIME_MS):
        parts = chunks(ROWS, 10)  # too few for SQLite to look at the time
        seen = await bridge.run(next, parts)
        assert probe.in_worker == 0
        seen += await bridge.run(next, parts)
        on_loop = probe.on_loop
        for part in await bridge.run(list, parts):
            seen += part
    assert seen == list(range(1, EACH + 1))
    assert probe.on_loop == on_loop
    assert probe.on_loop + probe.in_worker == EACH


async def test_a_write_through_the_cursor_of_an_iterator_is_done_at_once(
    db_clean: TestDatabases,
) -> None:
    """With rows of RETURNING left unread it would keep every other writer waiting."""

    def work() -> None:
        cursor = connection.chunked_cursor()
        cursor.execute(
            "INSERT INTO library_author (name) VALUES ('Ann'), ('Bob') RETURNING name"
        )
        assert cursor.fetchone() == ("Ann",)
        with db_clean.file() as raw:
            assert raw.execute("SELECT count(*) FROM library_author").fetchone() == (2,)
        assert cursor.fetchall() == [("Bob",)]
        cursor.close()

    await bridge.run(work)


async def test_an_iterator_whose_chunk_is_cancelled_in_a_worker_is_closed(
    probe: Probe,
) -> None:
    async with inline_ms(0):
        parts = chunks(ROWS, 10)
        await bridge.run(next, parts)
        probe.entered.clear()
        probe.hold()
        task = asyncio.create_task(bridge.run(next, parts))
        await happened(probe.entered)
        task.cancel()
        await refused(task)
        probe.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopIteration):
            next(parts)
        await assert_all_back()


async def test_an_iterator_whose_rest_could_not_be_read_does_not_end_early(
    probe: Probe,
) -> None:
    """The write that had to read it was cancelled: fewer rows must not pass for all of them."""
    other = OtherProcess(Path(connections.settings["default"]["NAME"]))

    async def work() -> None:
        async with inline_ms(ALL_TIME_MS):
            parts = chunks(
                "SELECT probe(n) FROM (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3), "
                "(SELECT count(*) FROM library_author)",
                1,
            )
            assert await bridge.run(next, parts) == [1]
            other.execute("INSERT INTO library_author (name) VALUES ('other')")
            with pytest.raises(asyncio.CancelledError):
                await Author.objects.acreate(name="Ann")
            with pytest.raises(ProgrammingError, match="closed cursor"):
                await bridge.run(next, parts)

    probe.hold()
    task = asyncio.create_task(work())
    await happened(probe.entered)
    task.cancel()
    await refused(task)
    probe.release()
    await task
    other.end()
    await assert_all_back()


async def test_an_iterator_in_a_database_in_memory_leaves_no_statement_open(
    memory: str,
) -> None:
    await fill(memory)
    rows = ordered(memory).aiterator(chunk_size=7)
    await anext(rows)

    def make_anew() -> None:
        with connections[memory].schema_editor() as editor:  # refused while a SELECT is open
            editor.delete_model(Author)
            editor.create_model(Author)

    async with onloop.scope():
        await bridge.run(make_anew)
    assert len([author async for author in rows]) == 199
