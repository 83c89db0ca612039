"""A cancellation that is swallowed inside a block cannot end in a silent rollback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import asgiref.sync
import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, all_back, anames, assert_all_back, fetch, make_books

pytestmark = pytest.mark.usefixtures("db_clean")


# --- ways to stop waiting for a query, and to go on as if nothing had happened ----------------


async def by_timeout(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            reached = asyncio.ensure_future(gate.until_waiting(1))
            reached.add_done_callback(lambda _: limit.reschedule(0))
            await query()


async def by_wait_for(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(query(), 0.3)


async def by_move_on_after(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    """anyio cancels again and again until the scope is left."""
    with anyio.CancelScope() as scope:
        reached = asyncio.ensure_future(gate.until_waiting(1))
        reached.add_done_callback(lambda _: scope.cancel())
        await query()


async def by_cancelling_a_child(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    async def child() -> None:
        await query()

    task = asyncio.create_task(child())
    await gate.until_waiting(1)
    task.cancel()
    await asyncio.wait([task])


async def by_gather(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    """A time-out inside of a gathered child, which swallows it."""
    await asyncio.gather(by_timeout(gate, query), asyncio.sleep(0))


async def by_a_loop_in_a_thread(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    """The thread has joined the block, and so has what it runs."""

    async def impatient() -> None:
        await by_timeout(gate, query)

    await asyncio.to_thread(lambda: asyncio.run(impatient()))


async def by_swallowing(gate: Gate, query: Callable[[], Awaitable[Any]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    reached = asyncio.ensure_future(gate.until_waiting(1))
    reached.add_done_callback(lambda _: task.cancel())
    with contextlib.suppress(asyncio.CancelledError):
        await query()
    task.uncancel()


every_way = pytest.mark.parametrize(
    "swallow",
    [
        by_timeout,
        by_wait_for,
        by_move_on_after,
        by_cancelling_a_child,
        by_gather,
        by_a_loop_in_a_thread,
        by_swallowing,
    ],
)


@pytest.mark.only_on("postgresql")
@every_way
async def test_a_swallowed_time_out_of_a_query_is_an_error_at_the_end_of_its_block(
    swallow: Any, gate: Gate, run_task: Callable[..., Any]
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="lost, otherwise")
            await swallow(gate, lambda: afetch(gate.sql))

    with pytest.raises(TransactionManagementError, match="was cancelled"):
        await run_task(work())
    assert await anames() == []
    await eventually(lambda: gate.waiting() == [])
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@every_way
async def test_in_an_inner_block_without_savepoint_it_is_an_error_of_the_outer_one(
    swallow: Any, gate: Gate
) -> None:
    async def inner() -> None:
        async with transaction.atomic(savepoint=False):
            await afetch(gate.sql)

    with pytest.raises(TransactionManagementError, match="was cancelled"):
        async with transaction.atomic():
            await Author.objects.acreate(name="lost, otherwise")
            await swallow(gate, inner)
    assert await anames() == []
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("swallow", [by_timeout, by_cancelling_a_child, by_gather])
async def test_in_an_inner_block_with_a_savepoint_it_costs_that_block_only(
    swallow: Any, gate: Gate
) -> None:
    async def inner() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="inner")
            await afetch(gate.sql)

    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        await swallow(gate, inner)
    assert await anames() == ["outer"]
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_in_sync_code_of_a_bridge_it_is_an_error(gate: Gate) -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="lost, otherwise")
            try:
                fetch(gate.sql)
            except asyncio.CancelledError:
                task.uncancel()

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    task.cancel()
    with pytest.raises(TransactionManagementError, match="was cancelled"):
        await task
    assert await anames() == []


# --- cancelled where no statement was under way -----------------------------------------------


async def test_an_inner_block_without_savepoint_that_is_cancelled_between_its_statements() -> (
    None
):
    """Django marks the outer block for rollback, and would roll it back without a word."""

    async def inner() -> None:
        async with transaction.atomic(savepoint=False):
            await Author.objects.acreate(name="inner")
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TransactionManagementError, match="was cancelled"):
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(inner(), 0.05)
    assert await anames() == []
    await assert_all_back()


async def test_an_error_that_leaves_an_inner_block_without_savepoint_is_djangos_affair() -> (
    None
):
    async with transaction.atomic():
        await Author.objects.acreate(name="goes")
        with contextlib.suppress(LookupError):
            async with transaction.atomic(savepoint=False):
                raise LookupError
        assert transaction.get_rollback()
    assert await anames() == []


async def test_a_time_out_while_waiting_for_the_turn_costs_nothing() -> None:
    """The statement was never sent."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="child")
            inside.set()
            await leave.wait()

    async with transaction.atomic():
        task = asyncio.create_task(child())
        await inside.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Author.objects.acreate(name="not sent"), 0.05)
        leave.set()
        await task
        await Author.objects.acreate(name="after")
    assert await anames() == ["after", "child"]


async def test_a_bulk_create_that_is_cancelled_at_its_turn_cannot_be_swallowed() -> None:
    """It is a block without savepoint, and may have written its first rows."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await leave.wait()

    async def bulk() -> None:
        async with transaction.atomic(savepoint=False):
            await Author.objects.acreate(name="first rows")
            tasks.append(asyncio.create_task(child()))
            await inside.wait()
            await Author.objects.acreate(name="second rows")

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(TransactionManagementError):
        async with transaction.atomic():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bulk(), 0.05)
            leave.set()
            await asyncio.wait(tasks)
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize(
    "hop",
    [asyncio.to_thread, lambda fn: asgiref.sync.sync_to_async(fn, thread_sensitive=False)()],
    ids=["to_thread", "asgiref"],
)
async def test_a_time_out_around_a_thread_of_a_block_loses_nothing(hop: Any) -> None:
    """A thread cannot be stopped: what it writes meanwhile is written, and committed."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(90)
        make_books("thread")
        done.set()

    async with transaction.atomic():
        await Author.objects.acreate(name="task")
        hopping = asyncio.ensure_future(hop(work))
        await eventually(begun.is_set)
        hopping.cancel()
        await asyncio.wait([hopping])
        assert hopping.cancelled()
        go_on.set()
        await eventually(done.is_set)
    assert await anames() == ["task", "thread"]
    await assert_all_back()


async def test_move_on_after_around_a_block_rolls_it_back(run_task: Callable[..., Any]) -> None:
    async def work() -> bool:
        with anyio.move_on_after(0.05) as scope:
            async with transaction.atomic():
                await Author.objects.acreate(name="goes")
                await anyio.sleep_forever()
        assert not connection.in_atomic_block
        await Author.objects.acreate(name="stays")
        return scope.cancelled_caught

    assert await run_task(work())
    assert await anames() == ["stays"]
    await assert_all_back()


@pytest.mark.only_on("postgresql")  # SQLite does not wait
async def test_a_rollback_is_finished_although_anyio_cancels_at_each_pass_of_the_loop() -> None:
    """Its connection is used again: the server's answer has been read."""
    pid = await abackend_pid()
    with anyio.move_on_after(0.05):
        async with transaction.atomic():
            await Author.objects.acreate(name="goes")
            await anyio.sleep_forever()
    assert await abackend_pid() == pid
    assert await anames() == []


async def test_a_time_out_of_zero_around_a_block_rolls_it_back() -> None:
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0), transaction.atomic():
                await Author.objects.acreate(name="goes")
                await asyncio.sleep(0)
        assert not connection.in_atomic_block
    assert await anames() == []
    await assert_all_back()


# --- swept ------------------------------------------------------------------------------------


async def test_a_swallowed_cancel_anywhere_in_a_block_commits_all_or_says_so(
    cancel_sweep: Any,
) -> None:
    """Each wait of what the block calls is cancelled, and the block goes on regardless."""
    story: set[str] = set()

    async def prepare() -> None:
        story.clear()
        await Author.objects.all().adelete()

    async def part() -> None:
        await Author.objects.acreate(name="a")
        async with transaction.atomic(savepoint=False):
            await Author.objects.filter(name="a").aupdate(name="b")

    async def scenario() -> None:
        try:
            async with transaction.atomic():
                await Author.objects.acreate(name="outer")
                story.add("begun")
                try:
                    await part()
                    story.add("part")
                except asyncio.CancelledError:
                    story.add("swallowed")
                story.add("left whole")
        except TransactionManagementError:
            story.add("told")

    async def check(_: Any) -> None:
        found = await anames()
        if "left whole" not in story or "told" in story:
            assert found == []
        elif "part" in story:
            assert found == ["b", "outer"]
        else:  # what was done of the part was done, and nothing of it was lost
            assert found in (["outer"], ["a", "outer"])
        await eventually(all_back)

    sweep = await cancel_sweep(scenario, prepare=prepare, check=check, may_finish=True)
    assert sweep.waits > 0 or connection.vendor == "sqlite"
