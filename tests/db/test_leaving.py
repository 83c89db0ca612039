"""How a block is left: by any exception, twice, never, elsewhere, without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import afetch, anames, assert_all_back, names

pytestmark = pytest.mark.usefixtures("db_clean")


class OfNoKind(BaseException):
    """As `KeyboardInterrupt`, for a test runner that goes on after it."""


# --- by an exception --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        LookupError(),
        OfNoKind(),
        asyncio.CancelledError(),
        GeneratorExit(),
        ExceptionGroup("several", [LookupError(), ValueError()]),
        BaseExceptionGroup("several", [OfNoKind(), ValueError()]),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_leaves_a_block_rolls_it_back_and_comes_out(
    error: BaseException, run_task: Callable[..., Any]
) -> None:
    async def work() -> BaseException | None:
        try:
            async with transaction.atomic():
                await Author.objects.acreate(name="goes")
                raise error
        except BaseException as caught:  # noqa: BLE001 - compared below
            return caught
        return None

    assert await run_task(work()) is error
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize("error", [LookupError(), OfNoKind(), asyncio.CancelledError()])
async def test_whatever_leaves_an_inner_block_costs_that_one_only(error: BaseException) -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with pytest.raises(type(error)):
            async with transaction.atomic():
                await Author.objects.acreate(name="inner")
                raise error
    assert await anames() == ["outer"]


async def test_the_group_of_a_task_group_leaves_a_block_whole_and_rolls_it_back() -> None:
    async def fail() -> None:
        await Author.objects.acreate(name="of the one that fails")
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with transaction.atomic(), asyncio.TaskGroup() as group:
            group.create_task(Author.objects.acreate(name="of another"))
            group.create_task(fail())
    assert caught.group_contains(LookupError)
    assert await anames() == []
    await assert_all_back()


async def test_system_exit_in_sync_code_of_a_bridge_rolls_back() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="goes")
            raise SystemExit

    async def caught() -> None:
        with pytest.raises(SystemExit):
            await bridge.run(work)

    await asyncio.create_task(caught())
    assert await anames() == []
    await assert_all_back()


# --- an exception is not replaced -------------------------------------------------------------


async def test_an_error_that_leaves_a_block_is_not_replaced_because_a_child_is_in_it() -> None:
    inside, leave = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await leave.wait()

    async def work(error: BaseException) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="goes")
            tasks.append(asyncio.create_task(child()))
            await inside.wait()
            raise error

    for error in (LookupError(), asyncio.CancelledError()):
        inside.clear()
        with pytest.raises(type(error)):
            await work(error)
    leave.set()
    for task in tasks:
        with pytest.raises(TransactionManagementError, match="has ended"):
            await task
    assert await anames() == []
    await assert_all_back()


async def test_a_cancelled_task_is_cancelled_whatever_its_children_have_open() -> None:
    inside = asyncio.Event()
    children: list[asyncio.Task[Any]] = []

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await asyncio.Event().wait()

    async def work() -> None:
        async with transaction.atomic():
            children.append(asyncio.create_task(child()))
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    children[0].cancel()
    await asyncio.wait(children)
    assert children[0].cancelled()
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_an_error_is_not_replaced_by_the_time_out_of_the_turn_to_roll_back(
    gate: Gate,
) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async with onloop.scope():
        with pytest.raises(LookupError):
            async with transaction.atomic():
                await Author.objects.acreate(name="goes")
                tasks.append(asyncio.create_task(afetch(gate.sql)))
                await gate.until_waiting(1)
                raise LookupError
        assert await anames() == []
    await asyncio.wait(tasks)
    assert tasks[0].exception() is not None
    await assert_all_back()


# --- twice, never, elsewhere ------------------------------------------------------------------


async def test_a_block_that_is_left_twice_says_so_and_spares_the_one_around_it() -> None:
    async with transaction.atomic():
        block = transaction.atomic()
        await block.__aenter__()
        await Author.objects.acreate(name="Ann")
        await block.__aexit__(None, None, None)
        with pytest.raises(TransactionManagementError, match="was left before"):
            await block.__aexit__(None, None, None)
        assert connection.in_atomic_block
        await Author.objects.acreate(name="Bob")
    assert await anames() == ["Ann", "Bob"]


async def test_a_block_that_was_never_entered_cannot_be_left() -> None:
    with pytest.raises(TransactionManagementError, match="cannot be left"):
        await transaction.atomic().__aexit__(None, None, None)
    await assert_all_back()


async def test_leaving_what_is_over_by_an_error_does_not_hide_the_error() -> None:
    block = transaction.atomic()
    with pytest.raises(LookupError):
        async with block:
            await block.__aexit__(None, None, None)
            raise LookupError


async def test_one_atomic_object_may_be_entered_again_inside_of_itself() -> None:
    block = transaction.atomic()
    async with block:
        await Author.objects.acreate(name="outer")
        with pytest.raises(LookupError):
            async with block:
                await Author.objects.acreate(name="inner")
                raise LookupError
        assert connection.in_atomic_block
    assert await anames() == ["outer"]


async def test_a_child_that_never_leaves_its_block_costs_its_parent_the_transaction(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forgetful() -> None:
        await transaction.atomic().__aenter__()
        await Author.objects.acreate(name="inner")

    with pytest.raises(TransactionManagementError, match="while an inner block"):
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            await asyncio.create_task(forgetful())
    assert await anames() == []
    await assert_all_back()


async def test_a_block_may_be_left_in_another_context_of_its_task() -> None:
    import contextvars

    block = transaction.atomic()

    def enter() -> None:
        contextvars.copy_context().run(block.__enter__)

    def leave() -> None:
        with pytest.raises(LookupError):
            try:
                raise LookupError
            except LookupError as error:
                block.__exit__(LookupError, error, None)
                raise

    async with onloop.scope():
        await bridge.run(enter)
        await bridge.run(leave)
        assert not connection.in_atomic_block
    await assert_all_back()


async def test_a_block_that_is_left_outside_of_a_bridge_is_refused_and_stays_open() -> None:
    block = transaction.atomic()
    await bridge.run(block.__enter__)
    await Author.objects.acreate(name="Ann")
    with pytest.raises(SynchronousOnlyOperation, match=r"onloop\.bridge\.run"):
        block.__exit__(None, None, None)
    assert connection.in_atomic_block
    await bridge.run(block.__exit__, None, None, None)
    assert await anames() == ["Ann"]


# --- waiting for the turn, with a thread ------------------------------------------------------


@pytest.mark.only_on("postgresql")
async def test_a_block_waits_for_the_statement_of_a_thread_that_nobody_waits_for_any_more(
    gate: Gate,
) -> None:
    def in_thread() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(gate.sql)
        Author.objects.create(name="too late")

    left: list[asyncio.Future[Any]] = []
    leaving = asyncio.Event()

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="goes")
            left.append(asyncio.ensure_future(asyncio.to_thread(in_thread)))
            await gate.until_waiting(1)
            leaving.set()
            raise LookupError

    task = asyncio.create_task(work())
    await leaving.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    gate.open()
    with pytest.raises(LookupError):
        await task
    with pytest.raises(TransactionManagementError, match="has ended"):
        await left[0]
    assert await anames() == []
    assert await bridge.run(names) == []
    await assert_all_back()
