"""PostgreSQL: what only its driver and its server can show."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.postgresql import base as djangos
from django.db.models.expressions import RawSQL

import onloop
from onloop import bridge
from onloop.db.backends.postgresql.base import PostgreSQLMixin
from onloop.db.backends.postgresql.connection import LoopConnection
from tests.postgres import PostgresServer
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import (
    abackend_pid,
    afetch,
    anames,
    assert_all_back,
    backend_pid,
    fetch,
    pool_stats,
)

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


@pytest.mark.parametrize("place", ["address", "socket"])
async def test_a_thousand_gets_at_once_start_no_thread_and_no_back_end_too_many(
    place: str,
    postgres: PostgresServer,
    extra_alias: Callable[..., str],
    threads_started: list[str],
) -> None:
    host = postgres.place.host if place == "address" else postgres.place.socket_dir
    alias = extra_alias("thousand", HOST=host)
    await Author.objects.acreate(name="Ann")
    rows = Author.objects.using(alias).annotate(pid=RawSQL("pg_backend_pid()", []))
    threads_started.clear()
    found = await asyncio.gather(*(rows.aget(name="Ann") for _ in range(1000)))
    assert threads_started == []
    assert {author.name for author in found} == {"Ann"}
    assert len({author.pid for author in found}) <= 10
    assert (await pool_stats(alias))["pool_size"] <= 10
    await assert_all_back(alias)


async def test_ten_gathered_queries_in_one_block_are_one_back_end_and_one_at_a_time(
    gate: Gate,
) -> None:
    async with transaction.atomic(), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(afetch(gate.sql))
        await gate.until_waiting(1)
        async with onloop.scope():
            await anames()  # others go on meanwhile
        assert len(gate.waiting()) == 1
        gate.open()
    await assert_all_back()


async def test_a_statement_timeout_of_the_server_leaves_the_connection_usable(
    gate: Gate, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias("timed", OPTIONS={"options": "-c statement_timeout=500"})
    pid = await abackend_pid(alias)
    with pytest.raises(OperationalError, match="statement timeout"):
        await afetch(gate.sql, alias=alias)
    assert await abackend_pid(alias) == pid
    await assert_all_back(alias)


@pytest.mark.parametrize("bound", [True, False], ids=["server", "client"])
async def test_parameters_are_bound_on_either_side(
    extra_alias: Callable[..., str], bound: bool
) -> None:
    alias = extra_alias("bound", OPTIONS={"server_side_binding": bound})
    await Author.objects.using(alias).abulk_create(Author(name=str(n)) for n in range(20))
    rows = Author.objects.using(alias).filter(name__in=["1", "2"]).order_by("name")
    assert [author.name async for author in rows] == ["1", "2"]
    assert [author.name async for author in rows.aiterator(chunk_size=1)] == ["1", "2"]
    await assert_all_back(alias)


async def test_server_side_cursors_can_be_switched_off(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("bouncer", DISABLE_SERVER_SIDE_CURSORS=True)
    await Author.objects.using(alias).abulk_create(Author(name=str(n)) for n in range(20))
    async for _ in Author.objects.using(alias).aiterator(chunk_size=3):
        break
    await assert_all_back(alias)


async def test_one_connection_serves_the_loop_and_a_thread_by_turns() -> None:
    """Inside a block, where a thread joins."""
    pids = []
    async with transaction.atomic():
        for _ in range(3):
            pids.append(await abackend_pid())
            pids.append(await asyncio.to_thread(backend_pid))
    assert len(set(pids)) == 1


async def test_deadlock_of_two_transactions_is_an_error_of_one_of_them() -> None:
    await Author.objects.abulk_create([Author(name="a"), Author(name="b")])
    both = asyncio.Barrier(2)

    async def work(first: str, second: str) -> None:
        async with transaction.atomic():
            await Author.objects.select_for_update().aget(name=first)
            await both.wait()
            await Author.objects.select_for_update().aget(name=second)

    results = await asyncio.gather(work("a", "b"), work("b", "a"), return_exceptions=True)
    failed = [result for result in results if result is not None]
    assert len(failed) == 1
    assert "deadlock detected" in str(failed[0])
    await assert_all_back()


async def test_copy_works_in_a_block_and_a_cancelled_copy_loses_its_connection_only() -> None:
    def copy_in(wait: Any) -> None:
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            cursor.cursor.copy("COPY library_author (name) FROM STDIN") as copy,
        ):
            copy.write_row(("Ann",))
            wait()
            copy.write_row(("Bob",))

    await bridge.run(copy_in, lambda: None)
    assert await anames() == ["Ann", "Bob"]
    waiting = asyncio.Event()

    def wait_for_ever() -> None:
        waiting.set()
        bridge.await_(asyncio.Event().wait())

    task = asyncio.create_task(bridge.run(copy_in, wait_for_ever))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anames() == ["Ann", "Bob"]
    await assert_all_back()


async def test_a_connection_that_a_statement_left_in_a_transaction_is_not_lent_on() -> None:
    """`BEGIN` by hand in autocommit mode: the cursor is closed, the transaction is not."""
    pid = await abackend_pid()
    await afetch("BEGIN")
    assert await abackend_pid() != pid
    await assert_all_back()


async def test_an_invalid_statement_leaves_the_connection_usable() -> None:
    from django.db import ProgrammingError

    pid = await abackend_pid()
    with pytest.raises(ProgrammingError, match="syntax error"):
        await afetch("SELEKT")
    assert await abackend_pid() == pid


class TenantWrapper(PostgreSQLMixin, djangos.DatabaseWrapper):
    """An engine of the user's own, as a project for many tenants has it."""

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SET search_path TO public, pg_catalog")


async def test_the_mixin_works_in_front_of_a_wrapper_of_ones_own(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("tenant")
    async with onloop.scope():
        connections[alias] = TenantWrapper(connections.settings[alias], alias)
        path = await asyncio.gather(
            *(bridge.run(fetch, "SHOW search_path", (), alias) for _ in range(1))
        )
        assert "public" in path[0]
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Ann")
    assert await anames() == ["Ann"]


async def test_notifications_can_be_waited_for_in_session_mode(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS={"pool": {"mode": "session"}})

    def listen() -> str:
        with connections[alias].cursor() as cursor:
            cursor.execute("LISTEN news")
        raw = connections[alias].connection
        assert isinstance(raw, LoopConnection)
        return next(raw.notifies(timeout=90, stop_after=1)).payload

    async with onloop.scope():
        task = asyncio.create_task(bridge.run(listen))
        async with onloop.scope():

            async def listening() -> bool:
                await afetch("SELECT pg_notify('news', 'hello')")
                return task.done()

            await eventually(listening)
        assert await task == "hello"
    assert threading.current_thread() is threading.main_thread()
