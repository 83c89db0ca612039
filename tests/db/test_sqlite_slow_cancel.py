"""SQLite: a task is cancelled, or goes away, while a worker thread has its connection."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from onloop.db.backends.sqlite3 import worker
from onloop.testing.sweep import cancel_sweep
from tests.database import TestDatabases
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import afetch, anames, assert_all_back, pool_stats
from .sqlite import NUMBERS, Probe, happened, inline_ms, refused, rows_of

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

# They never end by themselves. `probe` tells when a worker has begun, and nothing after.
ENDLESS = "WITH RECURSIVE numbers(n) AS (SELECT probe(1) UNION ALL SELECT n + 1 FROM numbers) "
COUNT = f"{ENDLESS} SELECT count(*) FROM numbers"
ROWS = f"{ENDLESS} SELECT n FROM numbers"
INSERT = f"INSERT INTO library_author (name) {ENDLESS} SELECT n FROM numbers"
# This one ends when it is let go on, and is long enough to be stopped before that.
HELD_INSERT = (
    f"INSERT INTO library_author (name) {ENDLESS.rstrip(') ')} LIMIT 300000) "
    "SELECT count(*) FROM numbers"
)
HELD = "SELECT probe(1)"


async def cancelled(task: asyncio.Task[Any]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("sql", [COUNT, ROWS, INSERT])
async def test_a_statement_that_is_cancelled_in_a_worker_is_stopped(
    probe: Probe, sql: str
) -> None:
    async with inline_ms(0):
        task = asyncio.create_task(rows_of(sql))
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        await assert_all_back()
        assert await anames() == []


async def test_a_select_that_is_cancelled_inside_a_block_is_stopped_and_the_block_rolled_back(
    probe: Probe,
) -> None:
    async with inline_ms(0):
        with pytest.raises(TransactionManagementError, match="was cancelled"):
            async with transaction.atomic():
                await Author.objects.acreate(name="Ann")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(rows_of(COUNT), 0.05)
        assert await anames() == []
    await assert_all_back()


async def test_a_cancelled_task_ends_when_its_worker_has_let_go_and_not_before(
    probe: Probe,
) -> None:
    async with inline_ms(0):
        probe.hold()
        task = asyncio.create_task(rows_of(HELD))
        await happened(probe.entered)
        task.cancel()
        await refused(task)
        task.cancel()
        await refused(task)
        stats = await pool_stats()
        assert stats["pool_size"] - stats["pool_available"] == 1
        probe.release()
        await cancelled(task)
        await assert_all_back()


async def test_a_task_that_is_cancelled_in_the_queue_for_a_thread_ends_at_once(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_S", math.inf)
    async with inline_ms(0), asyncio.timeout(90):
        probe.hold()
        running = [asyncio.create_task(rows_of(f"{HELD} + {n}")) for n in range(worker.WORKERS)]
        await eventually(lambda: probe.in_worker == worker.WORKERS)
        queued = asyncio.create_task(rows_of(HELD))
        await refused(queued)
        queued.cancel()
        await cancelled(queued)
        probe.release()
        assert await asyncio.gather(*running) == [[1 + n] for n in range(worker.WORKERS)]
        assert probe.in_worker == worker.WORKERS
        await assert_all_back()


async def test_an_autocommit_write_that_is_cancelled_leaves_no_row(probe: Probe) -> None:
    async with inline_ms(0):
        task = asyncio.create_task(rows_of(INSERT))
        await happened(probe.entered)
        await refused(task)
        task.cancel()
        await cancelled(task)
        assert await anames() == []


async def test_a_write_that_is_cancelled_inside_a_savepoint_costs_the_savepoint_only(
    probe: Probe,
) -> None:
    """SQLite would roll the whole transaction back if the write were stopped."""

    async def inner() -> None:
        async with transaction.atomic():
            await afetch(HELD_INSERT)

    async with inline_ms(0):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            probe.hold()
            task = asyncio.create_task(inner())
            await happened(probe.entered)
            task.cancel()
            await refused(task)
            probe.release()
            await cancelled(task)
        assert await anames() == ["Ann"]
    await assert_all_back()


async def test_a_write_in_a_transaction_that_does_not_end_is_stopped_after_its_bound(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FINISH_S", 0.05)

    async def block() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await afetch(INSERT)

    async with inline_ms(0):
        task = asyncio.create_task(block())
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        assert await anames() == []
    await assert_all_back()


async def test_stopping_a_statement_leaves_an_iterator_on_the_same_connection_alone(
    probe: Probe,
) -> None:
    """`Connection.interrupt()` would end that too, and refuse everything after it."""
    await Author.objects.abulk_create(Author(name=f"{n:03}") for n in range(200))
    async with inline_ms(0):
        async with transaction.atomic():
            seen = []
            async for author in Author.objects.order_by("name").aiterator(chunk_size=50):
                if not seen:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05), transaction.atomic():
                            await rows_of(COUNT)
                seen.append(author.name)
        assert seen == [f"{n:03}" for n in range(200)]
    await assert_all_back()


async def test_a_worker_that_does_not_let_go_keeps_the_connection_and_the_pool_replaces_it(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_S", 0.05)
    async with inline_ms(0):
        raw: list[Any] = []

        async def work() -> None:
            await bridge.run(connection.ensure_connection)
            raw.append(connection.connection)
            await rows_of(HELD)

        probe.hold()
        task = asyncio.create_task(work())
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        await assert_all_back()
        assert (await pool_stats())["pool_size"] == 0
        assert not raw[0].closed
        assert await anames() == []
        probe.release()
        await eventually(lambda: raw[0].closed)
        await assert_all_back()


async def test_a_transaction_whose_worker_does_not_let_go_is_gone_with_its_connection(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_S", 0.05)

    async def block() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await rows_of(HELD)

    async with inline_ms(0):
        probe.hold()
        task = asyncio.create_task(block())
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        await assert_all_back()
        probe.release()
        async with transaction.atomic():  # whose place is free when the worker is done
            assert await anames() == []


async def test_a_database_in_memory_outlives_a_worker_that_does_not_let_go(
    probe: Probe, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_S", 0.05)
    await Author.objects.using(memory).acreate(name="Ann")
    async with inline_ms(0):
        probe.hold()
        task = asyncio.create_task(rows_of(HELD, memory))
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        others = asyncio.create_task(anames(memory))
        await refused(others)
        probe.release()
        assert await others == ["Ann"]


async def test_an_in_memory_transaction_whose_worker_does_not_let_go_is_rolled_back(
    probe: Probe, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_S", 0.05)

    async def block() -> None:
        async with transaction.atomic(using=memory):
            await Author.objects.using(memory).acreate(name="Ann")
            await rows_of(HELD, memory)

    async with inline_ms(0):
        probe.hold()
        task = asyncio.create_task(block())
        await happened(probe.entered)
        task.cancel()
        await cancelled(task)
        probe.release()
        assert await anames(memory) == []


async def test_a_coroutine_that_is_closed_leaves_its_connection_to_the_worker(
    probe: Probe,
) -> None:
    async with inline_ms(0):
        await bridge.run(connection.ensure_connection)
        raw = connection.connection
        probe.hold()
        # Driven by hand: what is closed here cannot wait for anything.
        running = bridge.run(_fetch, HELD)
        running.send(None)
        await happened(probe.entered)
        running.close()
        await bridge.run(connection.close)
        assert (await pool_stats())["pool_size"] == 0
        assert await anames() == []
        probe.release()
        await eventually(lambda: raw.closed)


def _fetch(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


async def test_a_scope_that_ends_while_a_worker_runs_leaves_its_connection_to_the_worker(
    probe: Probe,
) -> None:
    async with inline_ms(0):
        raw: list[Any] = []

        async def block() -> asyncio.Task[Any]:
            async with onloop.scope():
                block = transaction.atomic()
                await block.__aenter__()
                raw.append(connection.connection)
                task = asyncio.create_task(rows_of(HELD))
                await happened(probe.entered)
                return task

        probe.hold()
        task = await block()
        assert not raw[0].closed
        assert await anames() == []
        probe.release()
        await asyncio.wait([task])
        await eventually(lambda: raw[0].closed)
        await assert_all_back()


async def test_closing_a_half_read_cursor_does_not_wait_for_the_worker_of_another(
    probe: Probe,
) -> None:
    """SQLite's own call would: the loop would hang until the worker is done."""
    await Author.objects.abulk_create(Author(name=f"{n:03}") for n in range(200))
    async with inline_ms(0), transaction.atomic():
        rows = Author.objects.order_by("name").aiterator(chunk_size=50)
        await anext(rows)
        probe.hold()
        task = asyncio.create_task(rows_of(HELD))
        await happened(probe.entered)
        await rows.aclose()
        await refused(task)
        probe.release()
        assert await task == [1]


async def test_setting_up_the_raw_connection_while_a_worker_runs_is_refused(
    probe: Probe,
) -> None:
    """Both threads would stop for good: each has a lock that the other waits for."""
    async with inline_ms(0), transaction.atomic():
        probe.hold()
        task = asyncio.create_task(rows_of(HELD))
        await happened(probe.entered)
        for set_up in (
            lambda raw: raw.create_function("one", 0, lambda: 1),
            lambda raw: raw.set_progress_handler(None, 0),
        ):
            with pytest.raises(sqlite3.OperationalError, match="a worker runs a statement"):
                set_up(connection.connection)
        probe.release()
        assert await task == [1]


def test_a_loop_that_ends_stops_its_workers(
    probe: Probe, bare_loop: asyncio.AbstractEventLoop
) -> None:
    probe.loop_thread = -1
    raw: list[Any] = []

    async def work() -> None:
        async with inline_ms(0):
            await bridge.run(connection.ensure_connection)
            raw.append(connection.connection)
            await rows_of(COUNT)

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await happened(probe.entered)
        task.cancel()
        await asyncio.wait([task])

    bare_loop.run_until_complete(main())
    bare_loop.run_until_complete(bare_loop.shutdown_asyncgens())
    bare_loop.run_until_complete(bare_loop.shutdown_default_executor())
    assert raw[0].closed


Scenario = Callable[[], Awaitable[Any]]


async def autocommit_select() -> None:
    await rows_of(f"{NUMBERS} SELECT n FROM numbers")


async def autocommit_write() -> None:
    await afetch("INSERT INTO library_author (name) VALUES ('Ann')")


async def block_with_a_savepoint() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        async with transaction.atomic():
            await Author.objects.acreate(name="Bob")
            await autocommit_select()


async def iterator() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(20))
    async for author in Author.objects.aiterator(chunk_size=5):
        author.name += "!"
        await author.asave()


@pytest.mark.parametrize(
    ("scenario", "whole"),
    [
        (autocommit_select, {0}),
        (autocommit_write, {0, 1}),
        (block_with_a_savepoint, {0, 2}),
        (iterator, {0, 20}),
    ],
)
async def test_nothing_is_left_wherever_a_task_with_a_worker_is_cancelled(
    probe: Probe, db_clean: TestDatabases, scenario: Any, whole: set[int]
) -> None:
    async def check(outcome: Any) -> None:
        await assert_all_back()
        assert await Author.objects.acount() in whole
        await Author.objects.all().adelete()

    async with inline_ms(0):
        report = await cancel_sweep(scenario, check=check)
    assert report.waits > 0
