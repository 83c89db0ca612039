"""`transaction.on_commit`: sync and async callbacks, their order, and where they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asgiref.sync
import pytest
from django.db import connection, connections, transaction

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import afetch, anames, assert_all_back, names, pool_stats

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


async def test_callbacks_run_in_order_sync_and_async_alike(
    run_task: Callable[..., Any],
) -> None:
    order: list[int] = []

    async def note(n: int) -> None:
        await asyncio.sleep(0)
        order.append(n)

    async def second() -> None:
        await note(2)

    async def fourth() -> None:
        await note(4)

    async def work() -> None:
        async with transaction.atomic():
            transaction.on_commit(lambda: order.append(1))
            transaction.on_commit(second)
            transaction.on_commit(lambda: order.append(3))
            transaction.on_commit(fourth)
            assert order == []

    await run_task(work())
    assert order == [1, 2, 3, 4]


async def test_callbacks_see_what_was_committed_outside_of_any_block(
    run_task: Callable[..., Any],
) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append((connection.in_atomic_block, await anames()))

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(look)
            transaction.on_commit(lambda: seen.append((connection.in_atomic_block, names())))

    await run_task(work())
    assert seen == [(False, ["Ann"])] * 2


async def test_callbacks_do_not_run_after_a_rollback() -> None:
    ran: list[str] = []
    with pytest.raises(Rollback):
        async with transaction.atomic():
            transaction.on_commit(lambda: ran.append("goes"))
            raise Rollback
    async with transaction.atomic():
        transaction.on_commit(lambda: ran.append("stays"))
    assert ran == ["stays"]


async def test_callbacks_of_a_savepoint_that_rolls_back_do_not_run() -> None:
    ran: list[str] = []
    async with transaction.atomic():
        transaction.on_commit(lambda: ran.append("outer"))
        with pytest.raises(Rollback):
            async with transaction.atomic():
                transaction.on_commit(lambda: ran.append("rolled back"))
                raise Rollback
        async with transaction.atomic():
            transaction.on_commit(lambda: ran.append("inner"))
        assert ran == []
    assert ran == ["outer", "inner"]


async def test_callbacks_of_gathered_tasks_run_at_the_end_of_the_block_that_they_share() -> (
    None
):
    ran: list[int] = []

    async def work(n: int) -> None:
        async with transaction.atomic():
            transaction.on_commit(lambda: ran.append(n))

    async with transaction.atomic():
        await asyncio.gather(*(work(n) for n in range(5)))
        assert ran == []
    assert sorted(ran) == [0, 1, 2, 3, 4]


async def test_an_error_in_a_callback_is_raised_and_the_rows_stay() -> None:
    async def fail() -> None:
        raise Rollback

    with pytest.raises(Rollback):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(fail)
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_a_robust_callback_that_fails_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[str] = []

    async def fail() -> None:
        raise Rollback

    async with transaction.atomic():
        transaction.on_commit(fail, robust=True)
        transaction.on_commit(lambda: ran.append("after"))
    assert ran == ["after"]
    assert "Error calling" in caplog.text


async def test_a_callback_may_open_a_block_with_callbacks_of_its_own() -> None:
    ran: list[str] = []

    async def again() -> None:
        async with transaction.atomic(durable=True):
            await Author.objects.acreate(name="of the callback")
            transaction.on_commit(lambda: ran.append("inner"))
        ran.append("callback")

    async with transaction.atomic():
        transaction.on_commit(again)
    assert ran == ["inner", "callback"]
    assert await anames() == ["of the callback"]


async def test_tasks_that_a_callback_starts_outlive_the_block_unharmed() -> None:
    tasks: list[asyncio.Task[list[str]]] = []
    over = asyncio.Event()

    async def later() -> list[str]:
        await over.wait()
        return await anames()

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.on_commit(lambda: tasks.append(asyncio.create_task(later())))
    over.set()
    assert await tasks[0] == ["Ann"]


async def test_callbacks_gather_queries_in_tasks() -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.extend(await asyncio.gather(*(anames() for _ in range(5))))

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.on_commit(look)
    assert seen == [["Ann"]] * 5


async def test_a_callback_outside_of_a_block_runs_at_once() -> None:
    ran: list[str] = []

    async def now() -> None:
        ran.append("now")

    await bridge.run(transaction.on_commit, now)
    assert ran == ["now"]


async def test_the_connection_is_back_while_a_callback_awaits_something_else() -> None:
    free: list[int] = []

    async def look() -> None:
        stats = await pool_stats()
        free.append(stats["pool_size"] - stats["pool_available"])

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.on_commit(look)
    assert free == [0]


async def test_a_time_out_inside_of_a_callback_is_the_callbacks_own_affair() -> None:
    outcome: list[str] = []

    async def impatient() -> None:
        try:
            async with asyncio.timeout(0), transaction.atomic():
                await asyncio.Event().wait()
        except TimeoutError:
            outcome.append("timed out")

    async with transaction.atomic():
        transaction.on_commit(impatient)
    assert outcome == ["timed out"]


@pytest.mark.only_on("postgresql")
async def test_a_query_of_a_callback_can_be_timed_out(gate: Gate) -> None:
    outcome: list[str] = []

    async def impatient() -> None:
        try:
            async with asyncio.timeout(None) as limit:
                query = asyncio.ensure_future(gate.until_waiting(1))
                query.add_done_callback(lambda _: limit.reschedule(0))
                await afetch(gate.sql)
        except TimeoutError:
            outcome.append("timed out")

    async with transaction.atomic():
        transaction.on_commit(impatient)
    assert outcome == ["timed out"]
    assert gate.waiting() == []
    await assert_all_back()


async def test_a_block_that_is_entered_in_one_database_runs_the_callbacks_of_that_one() -> None:
    ran: list[str] = []
    async with transaction.atomic(using="other"):
        async with transaction.atomic():
            transaction.on_commit(lambda: ran.append("default"))
            transaction.on_commit(lambda: ran.append("other"), using="other")
        assert ran == ["default"]
    assert ran == ["default", "other"]


async def test_callbacks_of_a_scope_that_ends_in_its_block_do_not_run() -> None:
    ran: list[str] = []
    async with onloop.scope():
        await transaction.atomic().__aenter__()
        connections["default"].on_commit(lambda: ran.append("never"))
    await asyncio.sleep(0)
    assert ran == []


@pytest.mark.parametrize(
    "hop",
    [asyncio.to_thread, lambda fn: asgiref.sync.sync_to_async(fn)()],
    ids=["any", "asgiref"],
)
async def test_threads_that_a_callback_starts_see_what_was_committed(hop: Any) -> None:
    seen: list[Any] = []

    def work() -> None:
        try:
            seen.append((connection.in_atomic_block, names()))
        finally:
            connections.close_all()

    async def callback() -> None:
        await hop(work)

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.on_commit(callback)
    assert seen == [(False, ["Ann"])]


async def test_a_callback_that_a_callback_registers_runs_at_once() -> None:
    ran: list[str] = []

    async def inner() -> None:
        ran.append("inner")

    def outer() -> None:
        transaction.on_commit(inner)
        ran.append("outer")

    async with transaction.atomic():
        transaction.on_commit(outer)
    assert ran == ["inner", "outer"]


async def test_a_task_group_of_a_callback_may_open_blocks_in_parallel() -> None:
    async def write(n: int) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=str(n))

    async def callback() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(write(n))

    async with transaction.atomic():
        transaction.on_commit(callback)
    assert await anames() == ["0", "1", "2"]
    await assert_all_back()


async def test_a_cancellation_during_a_callback_is_raised_there_and_the_rows_stay() -> None:
    begun = asyncio.Event()
    seen: list[str] = []

    async def callback() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(callback)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_callbacks_of_a_block_in_a_joined_child_run_where_the_outer_one_ends() -> None:
    where: list[Any] = []

    async def child() -> None:
        async with transaction.atomic():
            transaction.on_commit(lambda: where.append(asyncio.current_task()))

    async with transaction.atomic():
        await asyncio.create_task(child())
    assert where == [asyncio.current_task()]
