"""Forced windows at the turn: a thread has it, and whoever wants it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

import onloop
from onloop.db.errors import TurnTimeout
from onloop.db.turn import Turn
from onloop.testing import ForcedWindow, Window
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import anames, assert_all_back, fetch, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Story:
    """What a block and its callbacks have come to."""

    def __init__(self) -> None:
        self.left_whole = False
        self.ran: list[str] = []


def in_a_thread(*_: Any) -> bool:
    return threading.current_thread() is not threading.main_thread()


async def thread_with_the_turn(
    forced_window: ForcedWindow,
) -> tuple[Window, asyncio.Future[Any]]:
    """A thread that has joined the block, and stays in a statement of it until released.

    One statement without a result: SQLite cannot commit before all rows of one are read.
    """
    await Author.objects.acreate(name="old")
    window = forced_window.at("onloop.db.turn.Turn.__enter__", after=True, only=in_a_thread)
    window.__enter__()
    mine = Author.objects.filter(name="old")
    thread = asyncio.ensure_future(asyncio.to_thread(mine.update, name="of the thread"))
    await window.reached()
    return window, thread


def waiting(turn: Turn) -> int:
    return len(turn._waiting)


async def until_waiting(count: int = 1) -> None:
    await eventually(lambda: waiting(connection.turn) == count)


@pytest.mark.parametrize("often", [1, 2])
async def test_a_block_that_is_cancelled_while_it_waits_for_its_turn_to_commit_commits(
    forced_window: ForcedWindow, often: int
) -> None:
    story = Story()
    windows: list[Window] = []
    turns: list[Turn] = []

    async def work() -> None:
        async with transaction.atomic():
            transaction.on_commit(lambda: story.ran.append("ran"))
            turns.append(connection.turn)
            window, _ = await thread_with_the_turn(forced_window)
            windows.append(window)
            story.left_whole = True

    task = asyncio.create_task(work())
    await eventually(lambda: turns and waiting(turns[0]))
    for _ in range(often):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    windows[0].release()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story.left_whole
    assert story.ran == ["ran"]
    assert await anames() == ["of the thread"]
    await assert_all_back()


async def test_a_block_that_fails_waits_for_the_turn_to_roll_back(
    forced_window: ForcedWindow,
) -> None:
    windows: list[Window] = []
    turns: list[Turn] = []

    async def work() -> None:
        async with transaction.atomic():
            turns.append(connection.turn)
            window, _ = await thread_with_the_turn(forced_window)
            windows.append(window)
            raise LookupError

    task = asyncio.create_task(work())
    await eventually(lambda: turns and waiting(turns[0]))
    assert not task.done()
    windows[0].release()
    with pytest.raises(LookupError):
        await task
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize("often", [1, 2])
async def test_a_task_that_is_cancelled_while_it_waits_to_enter_leaves_the_outer_block_whole(
    forced_window: ForcedWindow, often: int
) -> None:
    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="never")

    async with transaction.atomic():
        window, thread = await thread_with_the_turn(forced_window)
        task = asyncio.create_task(child())
        await until_waiting()
        for _ in range(often):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        window.release()
        await thread
        assert len(connection.atomic_blocks) == 1
        await Author.objects.acreate(name="after")
    assert await anames() == ["after", "of the thread"]
    await assert_all_back()


async def test_an_inner_block_that_is_cancelled_while_it_waits_to_leave_is_left_first(
    forced_window: ForcedWindow,
) -> None:
    inside = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="inner")
            inside.set()
            window, thread = await thread_with_the_turn(forced_window)
            opened.append(window)
            threads.append(thread)

    opened: list[Window] = []
    threads: list[asyncio.Future[Any]] = []
    async with transaction.atomic():
        task = asyncio.create_task(child())
        await inside.wait()
        await until_waiting()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        opened[0].release()
        with pytest.raises(asyncio.CancelledError):
            await task
        await threads[0]
        assert len(connection.atomic_blocks) == 1
    # The savepoint had been left without an exception.
    assert await anames() == ["inner", "of the thread"]
    await assert_all_back()


async def test_those_who_wait_are_told_when_the_block_ends_without_them(
    forced_window: ForcedWindow,
) -> None:
    windows: list[Window] = []
    late: list[asyncio.Task[Any]] = []
    turns: list[Turn] = []

    async def work() -> None:
        async with transaction.atomic():
            turns.append(connection.turn)
            window, _ = await thread_with_the_turn(forced_window)
            windows.append(window)
            late.extend(asyncio.create_task(anames()) for _ in range(2))
            await until_waiting(2)
            raise LookupError

    task = asyncio.create_task(work())
    await eventually(lambda: turns and waiting(turns[0]) == 3)
    windows[0].release()
    with pytest.raises(LookupError):
        await task
    for one in late:  # they were first in the queue, or are told that it is over
        try:
            await one
        except TransactionManagementError as error:
            assert "has ended" in str(error)  # noqa: PT017 - or there is no error
    assert await anames() == []
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_a_turn_time_out_names_the_thread_whose_statement_takes_so_long(
    gate: Gate,
) -> None:
    def in_thread() -> None:
        threading.current_thread().name = "the-slow-thread"
        fetch(gate.sql)

    async with onloop.scope(), transaction.atomic():
        slow = asyncio.ensure_future(asyncio.to_thread(in_thread))
        await gate.until_waiting(1)
        with pytest.raises(TurnTimeout, match="a statement of thread 'the-slow-thread'"):
            await anames()
        gate.open()
        await slow


def test_a_turn_passes_over_a_task_whose_loop_was_closed_while_it_waited(
    bare_loop: asyncio.AbstractEventLoop,
) -> None:
    wrapper: Any = connections["default"]
    with transaction.atomic():
        task: asyncio.Task[Any]

        async def begin() -> None:
            nonlocal task
            task = asyncio.create_task(anames())
            while not entered:
                await asyncio.sleep(0)
            while not wrapper.turn._waiting:
                await asyncio.sleep(0)

        entered: list[bool] = []
        outer_only = contextvars.copy_context()
        with transaction.atomic():
            entered.append(True)
            outer_only.run(bare_loop.run_until_complete, begin())
            bare_loop.close()
        assert names() == []
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
