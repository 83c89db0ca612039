"""SQLite: writers in order, other processes, in-memory databases."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

import onloop
from onloop import bridge
from onloop.testing import ForcedWindow
from tests.database import TestDatabases
from tests.project.library.models import Author

from .helpers import anames, assert_all_back
from .sqlite import OtherProcess, make_authors, refused

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]


@pytest.fixture
def other_process(db_clean: TestDatabases) -> Iterator[OtherProcess]:
    process = OtherProcess(Path(connections.settings["default"]["NAME"]))
    yield process
    process.end()


# --- in one process ---------------------------------------------------------------------------


async def test_fifty_transactions_at_once_all_commit(run_task: Callable[..., Any]) -> None:
    row = await Author.objects.acreate(name="0")

    async def count_up() -> None:
        async with transaction.atomic():
            author = await Author.objects.aget(pk=row.pk)
            await asyncio.sleep(0)
            author.name = str(int(author.name) + 1)
            await author.asave()

    async def work() -> None:
        await asyncio.gather(*(count_up() for _ in range(50)))

    await run_task(work())
    assert await anames() == ["50"]
    await assert_all_back()


async def test_transactions_get_their_place_in_the_order_in_which_they_asked() -> None:
    order: list[int] = []

    async def write(n: int) -> None:
        async with transaction.atomic():
            await asyncio.sleep(0)
            order.append(n)

    await asyncio.gather(*(write(n) for n in range(20)))
    assert order == list(range(20))


async def test_a_transaction_that_waits_too_long_for_its_place_is_told_so(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("hasty", OPTIONS={"timeout": 0.05})
    async with transaction.atomic(using=alias):
        async with onloop.scope():
            with pytest.raises(
                OperationalError, match="database is locked: other transactions"
            ):
                async with transaction.atomic(using=alias):
                    pass
        await Author.objects.using(alias).acreate(name="Ann")
    assert await anames() == ["Ann"]
    await assert_all_back(alias)


async def test_what_a_transaction_has_waited_for_its_place_is_a_part_of_its_time(
    extra_alias: Callable[..., str], forced_window: ForcedWindow
) -> None:
    """Else it would wait as long once more, for another process."""
    alias = extra_alias("patient", OPTIONS={"timeout": 60})
    given: list[float] = []

    def note(cursor: Any, sql: str, params: Any = None) -> None:
        if sql.startswith("BEGIN"):
            given.append(cursor.connection.busy_s)

    async def wait() -> float | None:
        async with transaction.atomic(using=alias):
            busy_s: float | None = connections[alias].connection.busy_s
            return busy_s

    async with forced_window.at(
        "onloop.db.backends.sqlite3.cursor.LoopSQLiteCursor.execute", before=True, only=note
    ):
        async with transaction.atomic(using=alias):
            async with onloop.scope():
                waiting = asyncio.create_task(wait())
            writers = connections[alias]._writers
            while not writers._waiting:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
        assert await waiting == 60
    assert len(given) == 2
    assert given[1] < 59.96


async def test_an_autocommit_write_waits_for_an_open_transaction_and_succeeds() -> None:
    async def write() -> None:
        async with onloop.scope():
            await Author.objects.acreate(name="autocommit")

    async with transaction.atomic():
        await Author.objects.acreate(name="block")
        task = asyncio.create_task(write())
        await refused(task)
    await task
    assert await anames() == ["autocommit", "block"]


async def test_a_read_does_not_wait_for_an_open_transaction() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        async with onloop.scope():
            assert await anames() == []


async def test_executemany_that_has_to_wait_writes_each_row_once() -> None:
    def write() -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO library_author (name) VALUES (%s)", [(str(n),) for n in range(9)]
            )

    async def in_own_scope() -> None:
        async with onloop.scope():
            await bridge.run(write)

    async with transaction.atomic():
        await Author.objects.acreate(name="block")
        task = asyncio.create_task(in_own_scope())
        await refused(task)
    await task
    assert await anames() == [*"012345678", "block"]


async def test_transactions_begin_immediate_on_the_loop() -> None:
    statements: list[str] = []
    connection.force_debug_cursor = True
    async with transaction.atomic():
        await anames()
    statements = [query["sql"] for query in connection.queries]
    assert statements[0] == "BEGIN IMMEDIATE"


@pytest.mark.parametrize("mode", ["DEFERRED", "EXCLUSIVE"])
async def test_the_transaction_mode_of_the_settings_is_respected(
    extra_alias: Callable[..., str], mode: str
) -> None:
    alias = extra_alias("moded", OPTIONS={"transaction_mode": mode})
    connections[alias].force_debug_cursor = True
    async with transaction.atomic(using=alias):
        await anames(alias)
    assert connections[alias].queries[0]["sql"] == f"BEGIN {mode}"


async def test_deferred_transactions_that_only_read_do_not_wait_for_each_other(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("deferred", OPTIONS={"transaction_mode": "DEFERRED"})
    both = asyncio.Barrier(2)

    async def read() -> None:
        async with transaction.atomic(using=alias):
            await anames(alias)
            await both.wait()

    await asyncio.gather(read(), read())


async def test_a_bulk_insert_does_not_keep_the_connection_afterwards() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(5))
    assert connection.connection is None
    await assert_all_back()


async def test_many_writers_of_every_kind_share_a_small_pool(
    extra_alias: Callable[..., str],
) -> None:
    """Whoever has a place in the queue gets a connection, and the other way round."""
    alias = extra_alias("small", OPTIONS={"pool": {"max_size": 2}, "timeout": 20})
    rows = Author.objects.using(alias)

    async def block(n: int) -> None:
        async with transaction.atomic(using=alias):
            await rows.acreate(name=f"block {n}")
            await asyncio.sleep(0)

    def many(n: int) -> None:
        with connections[alias].cursor() as cursor:
            cursor.executemany(
                "INSERT INTO library_author (name) VALUES (%s)", [(f"many {n}",)]
            )

    await asyncio.wait_for(
        asyncio.gather(
            *(block(n) for n in range(20)),
            *(rows.acreate(name=f"single {n}") for n in range(20)),
            *(bridge.run(many, n) for n in range(20)),
        ),
        10,
    )
    assert await rows.acount() == 60
    await assert_all_back(alias)


# --- other processes --------------------------------------------------------------------------


async def test_a_write_waits_for_another_process_while_the_loop_goes_on(
    other_process: OtherProcess,
) -> None:
    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(Author.objects.acreate(name="Ann"))
    await refused(task)
    other_process.execute("COMMIT")
    await task
    assert await anames() == ["Ann"]


async def test_a_transaction_waits_for_another_process_while_the_loop_goes_on(
    other_process: OtherProcess,
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")

    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(work())
    await refused(task)
    other_process.execute("COMMIT")
    await task
    assert await anames() == ["Ann"]


@pytest.mark.parametrize("kind", ["autocommit", "transaction", "executemany"])
async def test_a_write_raises_at_its_deadline_if_another_process_does_not_end(
    other_process: OtherProcess, extra_alias: Callable[..., str], kind: str
) -> None:
    alias = extra_alias("hasty", OPTIONS={"timeout": 0.05})

    def many() -> None:
        with connections[alias].cursor() as cursor:
            cursor.executemany("INSERT INTO library_author (name) VALUES (%s)", [("a",)])

    async def work() -> None:
        if kind == "executemany":
            await bridge.run(many)
            return
        async with transaction.atomic(using=alias) if kind == "transaction" else nothing():
            await Author.objects.using(alias).acreate(name="Ann")

    other_process.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="database is locked"):
        await work()
    other_process.execute("COMMIT")
    await work()
    await assert_all_back(alias)


@contextlib.asynccontextmanager
async def nothing() -> Any:
    yield


async def test_a_commit_waits_for_a_reader_of_another_process_without_wal(
    extra_alias: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite3"
    alias = extra_alias("journal", NAME=path, OPTIONS={"init_command": "PRAGMA journal_mode"})
    await asyncio.to_thread(make_authors, alias)

    async def work() -> None:
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Ann")

    reader = OtherProcess(path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM library_author") == "[(0,)]"
    task = asyncio.create_task(work())
    await refused(task)
    reader.execute("COMMIT")
    await task
    reader.end()
    assert await anames(alias) == ["Ann"]


async def test_a_write_that_is_cancelled_while_it_waits_leaves_nothing_behind(
    other_process: OtherProcess,
) -> None:
    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(Author.objects.acreate(name="Ann"))
    await refused(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other_process.execute("COMMIT")
    await Author.objects.acreate(name="Bob")
    assert await anames() == ["Bob"]
    await assert_all_back()


async def test_a_place_in_the_queue_is_free_again_after_its_owner_failed_to_begin(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias("hasty", OPTIONS={"timeout": 0.05})
    other_process.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(OperationalError, match=r"^database is locked$"):
            async with transaction.atomic(using=alias):
                pass
    other_process.execute("COMMIT")


# --- cursors ----------------------------------------------------------------------------------


async def test_a_scope_that_ends_with_rows_unread_does_not_lock_the_database() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(300))
    held: list[Any] = []
    async with onloop.scope():
        rows = Author.objects.all().aiterator(chunk_size=10)
        held.append(await anext(rows))
        held.append(rows)
    async with transaction.atomic():
        await Author.objects.all().adelete()
    assert await anames() == []
    await assert_all_back()
    await held[1].aclose()


async def test_a_cursor_that_is_used_after_its_scope_ended_is_closed() -> None:
    async with onloop.scope():
        cursor = await bridge.run(connection.cursor)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await bridge.run(cursor.cursor.execute, "SELECT 1")
