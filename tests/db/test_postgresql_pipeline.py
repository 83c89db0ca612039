"""PostgreSQL: pipelines, executemany, notices, notifications, and psycopg's own connection."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, anames, assert_all_back, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


def raw() -> Any:
    return connection.connection


# --- pipelines --------------------------------------------------------------------------------


async def test_a_pipeline_in_a_block_commits_with_it() -> None:
    def work() -> list[Any]:
        with transaction.atomic():
            with raw().pipeline() as pipeline:
                cursors = [
                    raw().execute("INSERT INTO library_author (name) VALUES (%s)", [name])
                    for name in "ab"
                ]
                pipeline.sync()
                counted = raw().execute("SELECT count(*) FROM library_author")
            return [*(cursor.rowcount for cursor in cursors), counted.fetchone()[0]]

    assert await bridge.run(work) == [1, 1, 2]
    assert await anames() == ["a", "b"]
    await assert_all_back()


async def test_an_error_in_a_pipeline_rolls_its_block_back() -> None:
    def work() -> None:
        with transaction.atomic():
            fetch("SELECT 1")
            with raw().pipeline():
                raw().execute("INSERT INTO library_author (name) VALUES ('a')")
                raw().execute("SELECT 1/0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await bridge.run(work)
    assert await anames() == []
    await assert_all_back()


async def test_a_pipeline_that_is_cancelled_reaches_nobody_else(gate: Gate) -> None:
    def work() -> None:
        with transaction.atomic():
            fetch("SELECT 1")
            with raw().pipeline() as pipeline:
                raw().execute("INSERT INTO library_author (name) VALUES ('a')")
                raw().execute(gate.sql)
                raw().execute("INSERT INTO library_author (name) VALUES ('b')")
                pipeline.sync()

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.waiting() == []
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize("often", [1, 2, 3])
async def test_nothing_of_a_pipeline_that_is_cancelled_as_it_sends_is_left_to_the_collector(
    monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    """psycopg would go on with it there, when the connection is closed or somebody else's."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: ignored.append(told.exc_value))
    loop = asyncio.get_running_loop()

    def cancel(times: int) -> None:
        if times:
            task.cancel()
            loop.call_soon(cancel, times - 1)

    def work() -> None:
        with transaction.atomic():
            fetch("SELECT 1")
            with raw().pipeline():
                raw().execute("INSERT INTO library_author (name) VALUES ('a')")
                loop.call_soon(cancel, often)  # when the end of the pipeline waits

    task = asyncio.create_task(bridge.run(work))
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()
    assert ignored == []
    assert await anames() == []
    await assert_all_back()


async def test_a_connection_that_is_left_in_pipeline_mode_is_not_lent_on() -> None:
    async with onloop.scope():
        pid = await abackend_pid()

        def leave_open() -> None:
            connection.ensure_connection()
            raw()._pipeline = psycopg.Pipeline(raw())
            raw()._pipeline.__enter__()

        await bridge.run(leave_open)
    # In a pipeline there would be no answer before it is synchronised.
    assert await abackend_pid() not in (pid, None)
    await assert_all_back()


# --- executemany ------------------------------------------------------------------------------


async def test_executemany_writes_every_row_and_returns_what_is_asked_for() -> None:
    sql = "INSERT INTO library_author (name) VALUES (%s) RETURNING name"

    def work() -> tuple[int, list[Any]]:
        with connection.cursor() as cursor:
            cursor.executemany(sql, [[name] for name in "abc"])
            count = cursor.rowcount
            cursor.cursor.executemany(sql, [[name] for name in "de"], returning=True)
            return count, [found.fetchone() for found in cursor.cursor.results()]

    assert await bridge.run(work) == (3, [("d",), ("e",)])
    assert await anames() == list("abcde")
    await assert_all_back()


async def test_an_executemany_that_fails_leaves_the_connection_usable() -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.executemany("SELECT 1 / %s", [[1], [0], [1]])

    with pytest.raises(DatabaseError, match="division by zero"):
        await bridge.run(work)
    assert await afetch("SELECT 42") == 42
    await assert_all_back()


async def test_an_executemany_that_is_cancelled_reaches_nobody_else(gate: Gate) -> None:
    def work() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany("SELECT pg_advisory_xact_lock(%s)", [[1], [4711], [2]])

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.waiting() == []
    assert await anames() == []
    await assert_all_back()


# --- notices and notifications ----------------------------------------------------------------


async def test_notices_reach_the_handler_of_the_block_and_not_that_of_the_next() -> None:
    mine: list[str] = []
    notice = "DO $$ BEGIN RAISE NOTICE 'hello'; END $$"

    def work() -> None:
        with transaction.atomic():
            raw().add_notice_handler(lambda diagnostic: mine.append(diagnostic.message_primary))
            fetch(notice)

    await bridge.run(work)
    await afetch(notice)
    assert mine == ["hello"]


async def test_notifications_are_heard_on_a_cursor_that_stays_open() -> None:
    def listen() -> str:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN news")
            return next(raw().notifies(timeout=90, stop_after=1)).payload

    async with onloop.scope():
        task = asyncio.create_task(bridge.run(listen))

        async def heard() -> bool:
            async with onloop.scope():
                await afetch("SELECT pg_notify('news', 'hello')")
            return task.done()

        await eventually(heard)
        assert await task == "hello"
    await assert_all_back()


async def test_a_listener_that_is_cancelled_frees_its_connection() -> None:
    listening = asyncio.Event()

    def listen() -> None:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN news")
            listening.set()
            for _ in raw().notifies():
                pass

    task = asyncio.create_task(bridge.run(listen))
    await listening.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_all_back()


# --- psycopg's own connection and cursors -----------------------------------------------------


async def test_statements_of_psycopgs_own_connection_belong_to_the_block() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="a")
            raw().execute("INSERT INTO library_author (name) VALUES ('b')")
            with raw().cursor() as cursor:
                cursor.execute("SELECT count(*) FROM library_author")
                assert cursor.fetchone() == (2,)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    assert await anames() == []
    await assert_all_back()


async def test_a_transaction_of_psycopgs_is_a_savepoint_of_the_block() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="a")
            with pytest.raises(ZeroDivisionError), raw().transaction():
                Author.objects.create(name="b")
                raise ZeroDivisionError

    await bridge.run(work)
    assert await anames() == ["a"]
    await assert_all_back()


async def test_info_and_the_cursors_connection_are_psycopgs() -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            assert cursor.connection is raw()
            assert raw().info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert raw().info.backend_pid == fetch("SELECT pg_backend_pid()")

    await bridge.run(work)
    await assert_all_back()


async def test_a_cursor_by_hand_in_async_code_works_in_a_scopes_task() -> None:
    async def work() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            return cursor.fetchone()[0]

    async with onloop.scope():
        assert await asyncio.create_task(work()) == 42
        await assert_all_back()


@pytest.mark.parametrize("threshold", [0, None])
async def test_prepared_statements_of_pooled_connections_are_each_borrowers_own_affair(
    extra_alias: Callable[..., str], threshold: int | None
) -> None:
    options = {
        "server_side_binding": True, "prepare_threshold": threshold, "pool": {"max_size": 1}
    }  # fmt: skip
    alias = extra_alias("prepared", OPTIONS=options)
    await Author.objects.using(alias).acreate(name="a")
    for _ in range(3):
        assert (await Author.objects.using(alias).aget(name="a")).name == "a"
    prepared = await afetch("SELECT count(*) FROM pg_prepared_statements", alias=alias)
    assert (prepared > 0) is (threshold == 0)
    await assert_all_back(alias)


async def test_a_prepared_statement_survives_a_change_of_its_table(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("prepared", OPTIONS={"pool": {"max_size": 1}})

    def work() -> list[Any]:
        found = []
        for change in (None, "ALTER TABLE library_tag ADD COLUMN more int"):
            with connections[alias].cursor() as cursor:
                if change:
                    cursor.execute(change)
                cursor.cursor.connection.execute("SELECT 1", prepare=True)
                cursor.execute("SELECT count(*) FROM library_tag")
                found.append(cursor.fetchone()[0])
        return found

    try:
        assert await bridge.run(work) == [0, 0]
    finally:
        await afetch("ALTER TABLE library_tag DROP COLUMN more")
    await assert_all_back(alias)


async def test_binary_results_can_be_asked_for(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("binary", OPTIONS={"server_side_binding": True})

    def work() -> Any:
        with connections[alias].cursor() as cursor:
            cursor.cursor.execute("SELECT 42::int8, true", binary=True)
            return cursor.fetchone()

    assert await bridge.run(work) == (42, True)
    await assert_all_back(alias)


async def test_rows_can_be_streamed_and_the_stream_left_early() -> None:
    def work() -> list[Any]:
        with connection.cursor() as cursor:
            found = []
            for row in cursor.cursor.stream("SELECT generate_series(1, 100000)"):
                found.append(row)
                if len(found) == 2:
                    break
            return found

    assert await bridge.run(work) == [(1,), (2,)]
    assert await afetch("SELECT 42") == 42
    await assert_all_back()
