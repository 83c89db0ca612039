"""One transaction, several tasks: what one does in its inner block is not its siblings'."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asgiref.sync
import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

from onloop import bridge
from onloop.db.errors import TurnTimeout
from tests.project.library.models import Author

from .helpers import anames, assert_all_back, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


@contextlib.asynccontextmanager
async def childs_block(
    first: Callable[[], Any], *, fail: bool = False
) -> AsyncIterator[asyncio.Task[Any]]:
    """A task of this block that stays in an inner one until the body is done."""
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def child() -> None:
        with contextlib.suppress(Rollback):
            async with transaction.atomic():
                await first()
                inside.set()
                await leave.wait()
                if fail:
                    raise Rollback

    task = asyncio.create_task(child())
    await inside.wait()
    yield task
    leave.set()
    await task


async def nothing() -> None:
    pass


async def break_the_block() -> None:
    """A statement that fails, and whose error is swallowed: nothing works until the end."""
    await Author.objects.acreate(name="twice")
    with contextlib.suppress(IntegrityError):
        await Author.objects.acreate(name="twice")


async def test_a_childs_broken_inner_block_is_not_its_parents() -> None:
    async with transaction.atomic():
        async with childs_block(break_the_block):
            waiting = asyncio.create_task(Author.objects.acreate(name="of a sibling"))
            await asyncio.sleep(0)
        await waiting
        await Author.objects.acreate(name="of the parent")
    assert await anames() == ["of a sibling", "of the parent"]
    await assert_all_back()


async def test_statements_in_a_childs_own_broken_block_are_refused() -> None:
    async def refused() -> None:
        await break_the_block()
        with pytest.raises(TransactionManagementError, match="until the end of the"):
            await anames()

    async with transaction.atomic(), childs_block(refused):
        pass


async def test_set_rollback_rolls_back_the_callers_block_and_not_a_childs_inner_one() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="of the parent")
        async with childs_block(nothing) as child:
            transaction.set_rollback(True)
            assert transaction.get_rollback()
        assert child.exception() is None
        assert transaction.get_rollback()
    assert await anames() == []


async def test_a_childs_inner_block_does_not_see_the_parents_set_rollback() -> None:
    seen: list[bool] = []
    inside = asyncio.Event()
    look = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            inside.set()
            await look.wait()
            seen.append(transaction.get_rollback())
            await Author.objects.acreate(name="works all the same")

    async with transaction.atomic():
        task = asyncio.create_task(child())
        await inside.wait()
        transaction.set_rollback(True)
        look.set()
        await task
    assert seen == [False]
    assert await anames() == []


async def test_set_rollback_while_a_child_has_a_block_can_be_taken_back() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        async with childs_block(nothing):
            transaction.set_rollback(True)
            transaction.set_rollback(False)
            assert not transaction.get_rollback()
    assert await anames() == ["Ann"]


@override_settings(ONLOOP={"TURN_TIMEOUT": 0.2})
async def test_an_error_of_a_parent_that_waits_breaks_the_parents_block_only() -> None:
    """`save()` marks the block in which it fails, for whatever reason."""
    async with transaction.atomic():
        await Author.objects.acreate(name="of the parent")
        async with childs_block(nothing) as child:
            with pytest.raises(TurnTimeout):
                await Author.objects.acreate(name="not in time")
        assert child.exception() is None
        assert transaction.get_rollback()
    assert await anames() == []


async def test_a_callback_of_the_parent_stays_when_a_childs_inner_block_rolls_back() -> None:
    ran: list[str] = []

    async def register() -> None:
        transaction.on_commit(lambda: ran.append("child"))

    async with transaction.atomic(), childs_block(register, fail=True):
        transaction.on_commit(lambda: ran.append("parent"))
    assert ran == ["parent"]


async def test_a_callback_of_the_parents_savepoint_goes_with_it() -> None:
    ran: list[str] = []
    async with transaction.atomic():
        with pytest.raises(Rollback):
            async with transaction.atomic():
                async with childs_block(nothing):
                    transaction.on_commit(lambda: ran.append("parent"))
                raise Rollback
    assert ran == []


@pytest.mark.parametrize("fails", [False, True], ids=["released", "rolled back"])
async def test_a_callback_that_comes_while_its_block_is_being_left_is_refused(
    forced_window: Any, fails: bool
) -> None:
    """It would belong to the outer block then, whatever becomes of its own."""
    ran: list[str] = []
    name = "savepoint_rollback" if fails else "savepoint_commit"
    target = f"django.db.backends.base.base.BaseDatabaseWrapper.{name}"

    async def late() -> None:
        await window.reached()
        try:
            with pytest.raises(TransactionManagementError, match="has ended"):
                transaction.on_commit(lambda: ran.append("never"))
            transaction.set_rollback(True)  # nobody's any more
        finally:
            window.release()

    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with contextlib.suppress(Rollback), forced_window.at(target, before=True) as window:
            async with transaction.atomic():
                task = asyncio.create_task(late())
                if fails:
                    raise Rollback
        await task
        assert not transaction.get_rollback()
    assert ran == []
    assert await anames() == ["outer"]


async def test_execute_wrappers_that_overlap_in_one_block_are_each_removed_at_their_end() -> (
    None
):
    heard: list[str] = []

    def listener(name: str) -> Any:
        def listen(execute: Any, *args: Any) -> Any:
            heard.append(name)
            return execute(*args)

        return listen

    async with transaction.atomic():
        first, second = (
            connection.execute_wrapper(listener(name)) for name in ("first", "second")
        )
        with first:
            second.__enter__()
        await anames()
        second.__exit__(None, None, None)
        await anames()
    assert heard == ["second"]


# --- closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "close",
    [lambda: connections["default"].close(), connections.close_all],  # noqa: PLW0108
    ids=["one", "all"],
)
@pytest.mark.parametrize(
    "run",
    [
        asyncio.to_thread,
        lambda fn: asgiref.sync.sync_to_async(fn)(),
        lambda fn: asyncio.create_task(bridge.run(fn)),
    ],
    ids=["thread", "asgiref", "task"],
)
async def test_who_joined_a_block_does_not_close_its_connection(run: Any, close: Any) -> None:
    """Threads are told to close their connections at their end. This one is the block's."""

    def work() -> None:
        Author.objects.create(name="Ann")
        close()

    async with transaction.atomic():
        await run(work)
        assert await anames() == ["Ann"]
    assert await anames() == ["Ann"]
    await assert_all_back()


def test_a_thread_that_joined_a_sync_block_does_not_close_its_connection() -> None:
    async def inside() -> None:
        def work() -> None:
            Author.objects.create(name="Ann")
            connections.close_all()

        await asyncio.to_thread(work)

    with transaction.atomic():
        asyncio.run(inside())
        assert names() == ["Ann"]
    assert names() == ["Ann"]
