"""Tasks that share a transaction take turns on its one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asgiref.sync
import pytest
from django.db import OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

import onloop
from onloop.db.errors import TurnTimeout
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import afetch, anames, assert_all_back, make_books, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


async def let_others_run() -> None:
    """Queries of a scope of its own: whoever was free to go on has gone on after them."""
    async with onloop.scope():
        for _ in range(5):
            await anames()


async def test_statements_of_many_tasks_in_one_block_do_not_disturb_each_other(
    run_task: Callable[..., Any],
) -> None:
    async def child(n: int) -> int:
        author = await Author.objects.acreate(name=f"Ann {n}")
        author.name += "!"
        await author.asave()
        return await Author.objects.filter(name=f"Ann {n}!").acount()

    async def work() -> list[int]:
        async with transaction.atomic():
            return await asyncio.gather(*(child(n) for n in range(30)))

    assert await run_task(work()) == [1] * 30
    assert len(await anames()) == 30


async def test_savepoints_of_many_tasks_in_one_block_come_one_after_the_other() -> None:
    async def child(n: int) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=f"Ann {n:02}")
            await asyncio.sleep(0)
            await Author.objects.filter(name=f"Ann {n:02}").aupdate(name=f"Ann {n:02}!")
            if n % 3 == 0:
                raise Rollback

    async with transaction.atomic():
        await asyncio.gather(*(child(n) for n in range(12)), return_exceptions=True)
    assert await anames() == [f"Ann {n:02}!" for n in range(12) if n % 3]


async def test_a_childs_inner_block_holds_up_its_siblings_and_its_parent() -> None:
    order: list[str] = []
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            inside.set()
            await release.wait()
            await Author.objects.acreate(name="Bob")
            order.append("child")

    async def sibling() -> None:
        await anames()
        order.append("sibling")

    async def open_the_way() -> None:
        await let_others_run()
        release.set()

    opener_may_start = asyncio.Event()

    async def opener() -> None:
        await opener_may_start.wait()
        await open_the_way()

    opening = asyncio.create_task(opener())
    async with transaction.atomic():
        tasks = [asyncio.create_task(child())]
        await inside.wait()
        tasks.append(asyncio.create_task(sibling()))
        opener_may_start.set()
        assert await anames() == ["Ann", "Bob"]
        order.append("parent")
        await asyncio.gather(*tasks)
    await opening
    assert order[0] == "child"
    assert sorted(order[1:]) == ["parent", "sibling"]


async def test_a_grandchilds_inner_block_holds_up_only_who_is_outside_of_it() -> None:
    async def grandchild(n: int) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=f"Ann {n}")

    async def child() -> None:
        async with transaction.atomic():
            await asyncio.gather(*(grandchild(n) for n in range(3)))

    async with transaction.atomic():
        await asyncio.gather(child(), anames(), anames())
    assert await anames() == ["Ann 0", "Ann 1", "Ann 2"]


@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_a_parent_that_awaits_a_task_of_its_outer_block_is_told_who_holds_the_turn() -> (
    None
):
    started = asyncio.Event()

    async def child() -> None:
        await started.wait()
        await anames()

    async def parent() -> None:
        async with transaction.atomic():
            task = asyncio.create_task(child())
            async with transaction.atomic():
                started.set()
                await task

    task = asyncio.create_task(parent(), name="the-culprit")
    with pytest.raises(TurnTimeout, match="inner atomic block that task 'the-culprit'"):
        await task
    await assert_all_back()


@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_a_turn_time_out_names_the_task_whose_statement_takes_so_long(gate: Gate) -> None:
    async def parent() -> None:
        async with transaction.atomic(), asyncio.TaskGroup() as group:
            group.create_task(afetch(gate.sql), name="the-slow-one")
            await gate.until_waiting(1)
            group.create_task(anames())

    with pytest.raises(ExceptionGroup) as failed:
        await parent()
    assert failed.group_contains(TurnTimeout, match="the-slow-one")
    await assert_all_back()


async def test_an_outer_block_that_ends_before_a_childs_inner_one_rolls_everything_back() -> (
    None
):
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="of the child")
            inside.set()
            await release.wait()
            await Author.objects.acreate(name="too late")

    with pytest.raises(
        TransactionManagementError, match=r"while an inner block, opened by task"
    ):
        async with transaction.atomic():
            await Author.objects.acreate(name="of the parent")
            task = asyncio.create_task(child())
            await inside.wait()
    release.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await anames() == []
    await assert_all_back()


async def test_a_middle_block_that_ends_before_a_childs_inner_one_spares_the_outer_block() -> (
    None
):
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="of the child")
            inside.set()
            await release.wait()

    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with pytest.raises(TransactionManagementError, match="while an inner block"):
            async with transaction.atomic():
                await Author.objects.acreate(name="middle")
                task = asyncio.create_task(child())
                await inside.wait()
        await Author.objects.acreate(name="after")
    release.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await anames() == ["after", "outer"]


async def test_all_inner_blocks_of_a_child_end_with_the_outer_one() -> None:
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic(), transaction.atomic(), transaction.atomic():
            inside.set()
            await release.wait()
            await Author.objects.acreate(name="too late")

    with pytest.raises(TransactionManagementError, match="inner block"):
        async with transaction.atomic():
            task = asyncio.create_task(child())
            await inside.wait()
    release.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await anames() == []
    await assert_all_back()


async def test_a_child_that_leaves_its_inner_block_after_the_outer_one_is_told_so() -> None:
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await release.wait()

    with pytest.raises(TransactionManagementError, match="inner block"):
        async with transaction.atomic():
            task = asyncio.create_task(child())
            await inside.wait()
    release.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task


@pytest.mark.parametrize("error", [asyncio.CancelledError, ZeroDivisionError])
async def test_the_error_that_ends_an_outer_block_is_not_hidden_by_an_inner_one_of_a_child(
    error: type[BaseException],
) -> None:
    """A cancellation above all, which would be swallowed: `gather` does not wait for all."""
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="of the child")
            inside.set()
            await release.wait()

    with pytest.raises(error):
        async with transaction.atomic():
            task = asyncio.create_task(child())
            await inside.wait()
            raise error
    release.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await anames() == []
    await assert_all_back()


async def test_a_task_that_is_cancelled_while_it_waits_for_its_turn_leaves_the_queue() -> None:
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await release.wait()

    async with transaction.atomic():
        first = asyncio.create_task(child())
        await inside.wait()
        waiting = asyncio.create_task(anames())
        await let_others_run()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        await first
        assert await anames() == []


async def test_a_statement_that_is_cancelled_while_it_waits_for_its_turn_keeps_no_connection(
    run_task: Callable[..., Any],
) -> None:
    """Not even as long as somebody keeps its exception, and the frames in it."""
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await release.wait()

    async def work() -> asyncio.Task[Any]:
        async with transaction.atomic():
            held = asyncio.create_task(child())
            await inside.wait()
            waiting = asyncio.create_task(anames())
            for _ in range(5):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            release.set()
            await held
        await assert_all_back()  # before the scope ends
        return waiting

    kept = await run_task(work())
    assert kept.cancelled()


async def test_a_turn_goes_on_to_the_next_when_its_receiver_is_cancelled_in_the_same_pass() -> (
    None
):
    inside = asyncio.Event()
    release = asyncio.Event()
    waiting: list[asyncio.Task[list[str]]] = []

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await release.wait()
        # The turn has just been handed to the first of those that wait, which is not awake yet.
        waiting[0].cancel()

    async with transaction.atomic():
        holder = asyncio.create_task(child())
        await inside.wait()
        waiting += [asyncio.create_task(anames()) for _ in range(2)]
        await let_others_run()
        release.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await holder
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == []


async def test_threads_that_join_a_block_take_turns_with_its_tasks() -> None:
    in_thread = asgiref.sync.SyncToAsync(make_books, thread_sensitive=False)
    async with transaction.atomic():
        await asyncio.gather(
            *(in_thread(f"thread {n}") for n in range(4)),
            *(asyncio.to_thread(names) for _ in range(4)),
            *(Author.objects.acreate(name=f"task {n}") for n in range(4)),
        )
        assert await Author.objects.acount() == 8
        transaction.set_rollback(True)
    assert await anames() == []
    await assert_all_back()


async def test_a_block_in_a_thread_holds_up_the_tasks_of_the_outer_one() -> None:
    """The thread asks its parent's loop for a query while its own savepoint is open."""

    def in_thread() -> list[str]:
        with transaction.atomic():
            Author.objects.create(name="Ann")
            return asgiref.sync.async_to_sync(anames)()

    async with transaction.atomic():
        seen = await asyncio.gather(asgiref.sync.sync_to_async(in_thread)(), anames())
        assert seen[0] == ["Ann"]
        transaction.set_rollback(True)
    assert await anames() == []


async def test_the_turns_of_two_databases_are_independent() -> None:
    inside = asyncio.Event()
    release = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic(using="other"):
            inside.set()
            await release.wait()

    async with transaction.atomic(), transaction.atomic(using="other"):
        task = asyncio.create_task(child())
        await inside.wait()
        assert await anames() == []
        assert connections["default"].in_atomic_block
        release.set()
        await task


@pytest.mark.only_on("postgresql")
async def test_a_block_left_by_an_error_waits_for_the_statement_of_a_task_that_still_runs(
    gate: Gate,
) -> None:
    """`gather` does not wait for the others when one fails."""
    started = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def slow() -> None:
        await Author.objects.acreate(name="Ann")
        started.set()
        await afetch(gate.sql)
        await Author.objects.acreate(name="too late")

    async def open_the_gate() -> None:
        async with onloop.scope():
            await gate.until_waiting(1)
            gate.open()

    opening = asyncio.create_task(open_the_gate())
    with pytest.raises(Rollback):
        async with transaction.atomic():
            tasks.append(asyncio.create_task(slow()))
            await started.wait()
            raise Rollback
    await opening
    with pytest.raises(TransactionManagementError, match="has ended"):
        await tasks[0]
    assert await anames() == []
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_a_block_that_cannot_get_its_turn_to_end_is_rolled_back_all_the_same(
    gate: Gate,
) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            tasks.append(asyncio.create_task(afetch(gate.sql)))
            await gate.until_waiting(1)

    async with onloop.scope():
        with pytest.raises(TurnTimeout):
            await work()
        assert not connections["default"].in_atomic_block
        assert await anames() == []
    with pytest.raises((OperationalError, TransactionManagementError)):
        await tasks[0]
    await assert_all_back()
