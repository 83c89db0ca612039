"""Threads: those that join a transaction, and those that have Django's stock connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asgiref.sync
import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from onloop.db import scope as scopes
from tests.project.library.models import Author

from .helpers import anames, assert_all_back, backend_pid, names, pool_stats

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture(autouse=True)
def _close_the_threads_connections() -> Iterator[None]:
    """asgiref has one thread for thread-sensitive calls; its connections are Django's own."""
    yield
    asgiref.sync.SyncToAsync.single_thread_executor.submit(connections.close_all).result()


def in_new_thread(fn: Callable[[], Any]) -> Any:
    """Run `fn` in a thread that inherits nothing, and close what it opened."""

    def work() -> Any:
        try:
            return fn()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def stock(fn: Callable[[], Any]) -> Callable[[], Any]:
    """`fn` as code of a thread that closes its connections at its end."""

    def work() -> Any:
        try:
            return fn()
        finally:
            if not connection.in_atomic_block:
                connections.close_all()

    return work


SENSITIVE = pytest.param(asgiref.sync.sync_to_async, id="sync_to_async")
INSENSITIVE = pytest.param(
    lambda fn: asgiref.sync.sync_to_async(fn, thread_sensitive=False), id="any thread"
)
TO_THREAD = pytest.param(lambda fn: lambda: asyncio.to_thread(fn), id="to_thread")
every_way = pytest.mark.parametrize("hop", [SENSITIVE, INSENSITIVE, TO_THREAD])


# --- from inside of a block -------------------------------------------------------------------


@every_way
async def test_a_thread_from_inside_of_a_block_sees_its_rows(
    hop: Any, run_task: Callable[..., Any]
) -> None:
    async def work() -> Any:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            seen = await hop(names)()
            transaction.set_rollback(True)
        return seen

    assert await run_task(work()) == ["Ann"]
    await assert_all_back()


@every_way
async def test_what_a_joined_thread_writes_goes_with_the_block(hop: Any) -> None:
    async with transaction.atomic():
        await hop(lambda: Author.objects.create(name="Ann"))()
        assert await anames() == ["Ann"]
        transaction.set_rollback(True)
    assert await anames() == []


@every_way
async def test_a_block_in_a_joined_thread_is_a_savepoint(hop: Any) -> None:
    def work() -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="goes")
            raise ZeroDivisionError
        with transaction.atomic():
            Author.objects.create(name="stays")

    async with transaction.atomic():
        await hop(work)()
        assert connection.in_atomic_block
    assert await anames() == ["stays"]


@every_way
async def test_callbacks_that_a_joined_thread_registers_run_at_the_end_of_the_block(
    hop: Any,
) -> None:
    ran: list[str] = []
    async with transaction.atomic():
        await hop(lambda: transaction.on_commit(lambda: ran.append("ran")))()
        assert ran == []
    assert ran == ["ran"]


@pytest.mark.only_on("postgresql")
@every_way
async def test_a_joined_thread_uses_the_blocks_back_end(hop: Any) -> None:
    async with transaction.atomic():
        assert await hop(backend_pid)() == await bridge.run(backend_pid)


async def test_a_thread_that_outlives_its_block_is_told_so() -> None:
    over = threading.Event()

    def late() -> list[str]:
        over.wait(90)
        return names()

    async with transaction.atomic():
        task = asyncio.create_task(asyncio.to_thread(late))
        await asyncio.sleep(0)
    over.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task


async def test_a_transaction_follows_the_code_through_thread_and_loop_and_back() -> None:
    async def innermost() -> list[str]:
        await Author.objects.acreate(name="loop again")
        return await anames()

    def in_thread() -> list[str]:
        Author.objects.create(name="thread")
        return asgiref.sync.async_to_sync(innermost)()

    async with transaction.atomic():
        await Author.objects.acreate(name="loop")
        seen = await asgiref.sync.sync_to_async(in_thread)()
        transaction.set_rollback(True)
    assert seen == ["loop", "loop again", "thread"]
    assert await anames() == []


# --- from outside of one ----------------------------------------------------------------------


@every_way
async def test_a_thread_from_outside_of_a_block_never_uses_the_pool(hop: Any) -> None:
    await anames()
    before = await pool_stats()
    wrappers = await asyncio.gather(
        *(hop(stock(lambda: (names(), connections["default"].scope)))() for _ in range(4))
    )
    assert wrappers == [([], None)] * 4
    assert await pool_stats() == before


@every_way
async def test_a_thread_from_inside_of_a_scope_but_no_block_never_uses_the_pool(
    hop: Any,
) -> None:
    async with onloop.scope():
        await anames()
        assert await hop(stock(lambda: (names(), connections["default"].scope)))() == ([], None)


@pytest.mark.only_on("postgresql")
async def test_threads_that_are_gathered_share_no_back_end() -> None:
    meet = threading.Barrier(4)

    def work() -> int:
        pid = backend_pid()
        meet.wait(90)
        return pid

    pids = await asyncio.gather(*(asyncio.to_thread(stock(work)) for _ in range(4)))
    assert len(set(pids)) == 4


async def test_a_plain_thread_has_transactions_of_its_own() -> None:
    def work() -> list[str]:
        with transaction.atomic():
            Author.objects.create(name="Ann")
            transaction.set_rollback(True)
        with transaction.atomic():
            Author.objects.create(name="Bob")
        return names()

    assert await asyncio.to_thread(stock(work)) == ["Bob"]
    assert await anames() == ["Bob"]


async def test_a_plain_thread_does_not_see_an_open_block_of_a_task() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        assert in_new_thread(names) == []


async def test_a_thread_keeps_its_connection_between_statements_as_django_does() -> None:
    def work() -> bool:
        names()
        first = connection.connection
        names()
        return first is not None and connection.connection is first

    assert await asyncio.to_thread(stock(work))


async def test_a_loop_that_waits_for_a_thread_does_not_deadlock_with_it(
    extra_alias: Callable[..., str],
) -> None:
    """Even with its pool used up: a thread's connection is not the pool's."""
    alias = extra_alias("one", OPTIONS={"pool": {"max_size": 1, "timeout": 1}})

    def close() -> list[str]:
        try:
            return names(alias)
        finally:
            connections.close_all()

    async with transaction.atomic(using=alias):
        await anames(alias)
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(close).result(10) == []


# --- lent scopes ------------------------------------------------------------------------------


async def test_a_thread_that_is_lent_the_scope_uses_its_wrapper() -> None:
    async with onloop.scope() as scope:
        mine = connections["default"]

        def work() -> Any:
            with scope.lend():
                return connections["default"], names()

        theirs, seen = await asyncio.to_thread(work)
    assert theirs is mine
    assert seen == []
    await assert_all_back()


async def test_a_thread_that_keeps_a_lent_scope_beyond_its_end_gives_everything_back() -> None:
    lent = threading.Event()
    ended = threading.Event()
    block = transaction.atomic()

    def work(scope: scopes.Scope) -> None:
        with scope.lend():
            block.__enter__()
            Author.objects.create(name="Ann")
            lent.set()
            ended.wait(90)

    async with onloop.scope() as scope:
        task = asyncio.create_task(asyncio.to_thread(work, scope))
        while not lent.is_set():
            await asyncio.sleep(0.001)
    ended.set()
    await task
    assert await anames() == []
    await assert_all_back()


# --- without Onloop's surroundings ------------------------------------------------------------


def test_asyncio_run_inside_of_a_sync_block_joins_it() -> None:
    async def inside() -> list[str]:
        await Author.objects.acreate(name="async")
        return await anames()

    with transaction.atomic():
        Author.objects.create(name="sync")
        assert asyncio.run(inside()) == ["async", "sync"]
        transaction.set_rollback(True)
    assert names() == []


@pytest.mark.only_on("postgresql")
def test_asyncio_run_inside_of_a_sync_block_uses_its_back_end() -> None:
    async def inside() -> set[int]:
        pids = await asyncio.gather(*(bridge.run(backend_pid) for _ in range(3)))
        return set(pids)

    with transaction.atomic():
        assert asyncio.run(inside()) == {backend_pid()}


def test_asgirefs_async_to_sync_inside_of_a_sync_block_joins_it() -> None:
    with transaction.atomic():
        Author.objects.create(name="sync")
        assert asgiref.sync.async_to_sync(anames)() == ["sync"]
        transaction.set_rollback(True)


def test_asyncio_run_outside_of_a_sync_block_has_connections_of_its_own() -> None:
    names()

    async def inside() -> bool:
        return connections["default"].scope is not None

    assert asyncio.run(inside())
    assert connections["default"].scope is None


async def test_who_stops_waiting_for_a_thread_does_not_get_into_its_transaction() -> None:
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task()
    assert caller is not None
    go_on = threading.Event()

    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="not yet there")
            loop.call_soon_threadsafe(caller.cancel)
            go_on.wait(90)

    try:
        with pytest.raises(asyncio.CancelledError):
            await asgiref.sync.sync_to_async(work)()
        caller.uncancel()
        assert not connection.in_atomic_block
        if connection.features.has_select_for_update:  # SQLite's reader would wait for it
            assert await anames() == []
    finally:
        go_on.set()


async def test_a_connection_that_is_handed_to_a_foreign_thread_is_refused_there() -> None:
    await Author.objects.acreate(name="Ada")
    mine = connections["default"]

    def count() -> int:
        connections["default"] = mine
        try:
            return Author.objects.count()
        finally:
            del connections["default"]

    with pytest.raises(DatabaseError, match="can only be used in that same thread"):
        await asyncio.to_thread(in_new_thread, count)
    mine.inc_thread_sharing()
    try:
        assert await asyncio.to_thread(in_new_thread, count) == 1
    finally:
        mine.dec_thread_sharing()
    await assert_all_back()
