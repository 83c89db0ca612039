"""Contexts that tasks share, are given, or get back from threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asgiref.sync
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from onloop.db import scope as scopes
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import anames, assert_all_back, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


@pytest.fixture(autouse=True)
def _close_the_threads_connections() -> Iterator[None]:
    yield
    asgiref.sync.SyncToAsync.single_thread_executor.submit(connections.close_all).result()


def make(name: str) -> Any:
    return Author.objects.acreate(name=name)


# --- `create_task(context=...)` ---------------------------------------------------------------


def test_a_task_with_a_copy_of_the_context_joins_the_block(runner: asyncio.Runner) -> None:
    async def main() -> list[str]:
        async with transaction.atomic():
            await make("Ann")
            copy = contextvars.copy_context()
            task = asyncio.get_running_loop().create_task(anames(), context=copy)
            return await task

    assert runner.run(main()) == ["Ann"]


def test_a_task_with_an_empty_context_does_not_join_the_block(runner: asyncio.Runner) -> None:
    async def outside() -> bool:
        return connection.in_atomic_block

    async def main() -> bool:
        async with transaction.atomic():
            loop = asyncio.get_running_loop()
            return await loop.create_task(outside(), context=contextvars.Context())

    assert not runner.run(main())


def test_a_task_with_a_context_from_before_the_block_does_not_join_it(
    runner: asyncio.Runner,
) -> None:
    async def outside() -> bool:
        return connection.in_atomic_block

    async def main() -> bool:
        before = contextvars.copy_context()
        async with transaction.atomic():
            return await asyncio.get_running_loop().create_task(outside(), context=before)

    assert not runner.run(main())


async def two_in_one_context(first: Any, second: Any) -> list[Any]:
    loop = asyncio.get_running_loop()
    shared = contextvars.copy_context()
    tasks = [loop.create_task(coro, context=shared) for coro in (first, second)]
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_tasks_that_share_a_context_share_the_block_that_one_opens_in_it() -> None:
    """A context is the user's own; the second task's block is a savepoint of the first's."""
    inside = asyncio.Event()
    done = asyncio.Event()

    async def outer() -> None:
        async with transaction.atomic():
            await make("outer")
            inside.set()
            await done.wait()

    async def inner() -> None:
        await inside.wait()
        async with transaction.atomic():
            await make("inner")
        done.set()

    assert await two_in_one_context(outer(), inner()) == [None, None]
    assert await anames() == ["inner", "outer"]
    await assert_all_back()


async def test_two_tasks_that_share_a_context_and_leave_in_the_wrong_order_are_told_so() -> (
    None
):
    outer_inside, inner_inside = asyncio.Event(), asyncio.Event()
    outer_left = asyncio.Event()

    async def outer() -> None:
        try:
            async with transaction.atomic():
                await make("outer")
                outer_inside.set()
                await inner_inside.wait()
        finally:
            outer_left.set()

    async def inner() -> None:
        await outer_inside.wait()
        async with transaction.atomic():
            await make("inner")
            inner_inside.set()
            await outer_left.wait()

    for error in await two_in_one_context(outer(), inner()):
        assert isinstance(error, TransactionManagementError)
    assert await anames() == []
    await assert_all_back()


async def test_an_outer_block_in_a_shared_context_works_on_after_the_inner_one() -> None:
    inside, done = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with transaction.atomic():
            inside.set()
            await done.wait()
            await make("after")

    async def second() -> None:
        await inside.wait()
        async with transaction.atomic():
            await make("inner")
            transaction.set_rollback(True)
        done.set()

    assert await two_in_one_context(first(), second()) == [None, None]
    assert await anames() == ["after"]


def test_a_runner_whose_context_is_used_again_starts_outside_of_any_block() -> None:
    context = contextvars.copy_context()

    async def forgetful() -> None:
        await transaction.atomic().__aenter__()
        await make("goes")

    async def next_one() -> list[str]:
        await make("stays")
        return await anames()

    with asyncio.Runner() as runner:
        runner.run(forgetful(), context=context)
        with pytest.raises(TransactionManagementError, match="has ended"):
            runner.run(next_one(), context=context)
        assert runner.run(next_one()) == ["stays"]


# --- callbacks of the loop --------------------------------------------------------------------


def test_a_callback_of_the_loop_is_refused_whatever_its_context(runner: asyncio.Runner) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        refused: list[Any] = []
        done = asyncio.Event()

        def callback() -> None:
            try:
                names()
            except SynchronousOnlyOperation as error:
                refused.append(type(error))
            if len(refused) == 2:
                done.set()

        async with transaction.atomic():
            await make("Ann")
            loop.call_soon(callback)
            loop.call_soon(callback, context=contextvars.Context())
            await done.wait()
            assert await anames() == ["Ann"]
        return refused

    assert runner.run(main()) == [SynchronousOnlyOperation] * 2


def test_a_task_that_a_callback_makes_belongs_where_the_callback_was_asked_for(
    runner: asyncio.Runner,
) -> None:
    async def main() -> tuple[list[str], bool]:
        loop = asyncio.get_running_loop()
        made: list[asyncio.Task[Any]] = []
        empty = contextvars.Context()

        async def outside() -> bool:
            return connection.in_atomic_block

        async with transaction.atomic():
            await make("Ann")
            loop.call_soon(lambda: made.append(loop.create_task(anames())))
            loop.call_soon(lambda: made.append(loop.create_task(outside())), context=empty)
            while len(made) < 2:
                await asyncio.sleep(0)
            return await made[0], await made[1]

    assert runner.run(main()) == (["Ann"], False)


# --- what asgiref copies back -----------------------------------------------------------------


async def test_a_block_that_a_thread_enters_and_leaves_by_hand_is_followed_there_and_back() -> (
    None
):
    """As `sync_to_async(atomic.__enter__)()` is done where there is no `async with`."""
    block = transaction.atomic()
    in_thread = asgiref.sync.sync_to_async
    await in_thread(block.__enter__)()
    await in_thread(lambda: Author.objects.create(name="thread"))()
    assert await anames() == ["thread"]
    await make("loop")
    await in_thread(block.__exit__)(Rollback, Rollback(), None)
    assert not connection.in_atomic_block
    assert await anames() == []


async def test_a_block_that_an_inner_task_of_a_thread_leaves_open_is_not_the_callers() -> None:
    async def forgetful() -> None:
        await transaction.atomic().__aenter__()
        await make("goes")

    await asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(forgetful))()
    assert not connection.in_atomic_block
    await make("stays")
    assert await anames() == ["stays"]
    await assert_all_back()


def test_a_block_that_a_task_of_sync_code_leaves_open_is_not_the_callers() -> None:
    async def forgetful() -> None:
        await transaction.atomic().__aenter__()
        await make("goes")

    asgiref.sync.async_to_sync(forgetful)()
    assert not connection.in_atomic_block
    Author.objects.create(name="stays")
    assert names() == ["stays"]


async def test_a_scope_that_an_inner_task_of_a_thread_leaves_open_is_not_the_callers() -> None:
    async def forgetful() -> Any:
        opened = await onloop.scope().__aenter__()
        await anames()
        return opened

    made_in, bridged = scopes._made_in.get(), bridge.active()
    left = await asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(forgetful))()
    assert scopes._made_in.get() is made_in
    assert await asyncio.create_task(_active()) is bridged
    assert scopes.current_scope() is not left
    await eventually(lambda: left.task not in scopes._scopes)
    await assert_all_back()


async def _active() -> bool:
    return bridge.active()


async def test_a_cancelled_hop_leaves_the_callers_own_block_as_it_was() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def work() -> None:
        with transaction.atomic():
            begun.set()
            go_on.wait(90)

    async with transaction.atomic():
        await make("Ann")

        async def hop() -> None:
            try:
                await asgiref.sync.sync_to_async(work)()
            except asyncio.CancelledError:
                go_on.set()
                # Still the thread's savepoint, or over: in any case the outer block is ours.
                assert await anames() == ["Ann"]
                raise

        task = asyncio.create_task(hop())
        await eventually(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await anames() == ["Ann"]
    await assert_all_back()


# --- threads without a context ----------------------------------------------------------------


async def test_an_executor_of_the_loop_copies_no_context_and_joins_nothing() -> None:
    def work() -> tuple[bool, Any]:
        try:
            return connection.in_atomic_block, connections["default"].scope
        finally:
            connections.close_all()

    async with transaction.atomic():
        await make("Ann")
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, work) == (False, None)
        with ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, work) == (False, None)
        assert await anames() == ["Ann"]


@pytest.mark.parametrize("inside", [True, False], ids=["in a block", "outside"])
async def test_a_thread_started_by_hand_has_connections_of_its_own(inside: bool) -> None:
    seen: list[Any] = []

    def work() -> None:
        seen.append((connection.in_atomic_block, connections["default"].scope, names()))
        connections.close_all()

    def start() -> None:
        # From Python 3.14 on a thread may inherit the context: here it is to get none.
        thread = threading.Thread(target=contextvars.Context().run, args=(work,))
        thread.start()
        thread.join(90)

    if inside:
        async with transaction.atomic():
            await make("unseen")
            start()
    else:
        start()
    assert seen == [(False, None, [])]


async def test_a_thread_of_an_executor_that_asgiref_is_given_joins_the_block() -> None:
    with ThreadPoolExecutor(1) as executor:
        hop: Callable[..., Any] = asgiref.sync.SyncToAsync(
            names, thread_sensitive=False, executor=executor
        )
        async with transaction.atomic():
            await make("Ann")
            assert await hop() == ["Ann"]
            transaction.set_rollback(True)
