"""`onloop.scope()`: entered and left in every way, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from onloop.db import scope as scopes
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import afetch, anames, assert_all_back

pytestmark = pytest.mark.usefixtures("db_clean")


async def pinned() -> None:
    """Keep a connection until the scope ends."""
    await bridge.run(connection.ensure_connection)


async def test_nested_scopes_have_connections_of_their_own() -> None:
    async with onloop.scope():
        outer = connections["default"]
        await pinned()
        async with onloop.scope():
            assert connections["default"] is not outer
            await pinned()
        assert connections["default"] is outer
        assert outer.connection is not None
    await assert_all_back()


async def test_children_of_a_task_group_have_a_scope_each() -> None:
    seen: list[Any] = []

    async def child() -> None:
        async with onloop.scope():
            seen.append(connections["default"])
            await pinned()

    async with onloop.scope(), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(child())
        group.create_task(anames())
    assert len({id(one) for one in (*seen, connections["default"])}) == 4
    await assert_all_back()


async def test_a_scope_of_a_child_in_a_block_is_outside_of_it() -> None:
    async def child() -> bool:
        async with onloop.scope():
            return connection.in_atomic_block

    async with transaction.atomic():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(child())
        assert not task.result()
        assert connection.in_atomic_block


async def test_an_error_in_a_scope_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError):
        async with onloop.scope():
            await pinned()
            raise ZeroDivisionError
    await assert_all_back()
    assert asyncio.current_task() not in scopes._scopes or not connection.in_atomic_block


async def test_a_cancelled_scope_leaves_nothing_behind() -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with onloop.scope(), transaction.atomic():
            await Author.objects.acreate(name="Ann")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anames() == []
    await assert_all_back()


async def test_a_scope_that_is_left_in_another_task_says_so() -> None:
    scope = onloop.scope()
    entered, end = asyncio.Event(), asyncio.Event()

    async def enters() -> None:
        await scope.__aenter__()
        await pinned()
        entered.set()
        await end.wait()
        assert connection.connection is not None  # still this task's

    task = asyncio.create_task(enters(), name="the-first")
    await entered.wait()
    with pytest.raises(RuntimeError, match="entered in task 'the-first' and left in another"):
        await scope.__aexit__(None, None, None)
    end.set()
    await task
    await assert_all_back()


async def test_leaving_a_scope_in_another_task_does_not_hide_an_error() -> None:
    scope = onloop.scope()

    async def leaves() -> None:
        with contextlib.suppress(LookupError):
            try:
                raise LookupError
            except LookupError as error:
                if not await scope.__aexit__(LookupError, error, None):
                    raise

    await asyncio.create_task(scope.__aenter__())  # type: ignore[arg-type]
    await asyncio.create_task(leaves())


async def test_a_scope_that_its_task_never_leaves_ends_with_the_task() -> None:
    async def forgetful() -> Any:
        await onloop.scope().__aenter__()
        inner = await onloop.scope().__aenter__()
        await pinned()
        return inner

    task = asyncio.create_task(forgetful())
    inner = await task
    await eventually(lambda: task not in scopes._scopes)
    assert inner.ended
    await assert_all_back()


async def test_scopes_that_are_left_in_the_wrong_order_end_all_the_same() -> None:
    first, second = onloop.scope(), onloop.scope()
    await first.__aenter__()
    await pinned()
    await second.__aenter__()
    await pinned()
    inner = connections["default"]
    await first.__aexit__(None, None, None)
    assert connections["default"] is inner
    assert inner.connection is not None
    await second.__aexit__(None, None, None)
    assert connections["default"] is not inner
    assert await anames() == []
    await assert_all_back()


async def test_scopes_left_in_the_wrong_order_leave_the_block_around_them_as_it_was() -> None:
    scopes_here = [onloop.scope() for _ in range(3)]
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        for one in scopes_here:
            await one.__aenter__()
        for one in scopes_here:
            assert not connection.in_atomic_block
            await one.__aexit__(None, None, None)
        assert await anames() == ["Ann"]
        transaction.set_rollback(True)
    assert await anames() == []
    assert not await asyncio.create_task(_is_bridged())
    await assert_all_back()


async def _is_bridged() -> bool:
    return bridge.active()


async def test_a_block_that_its_scope_did_not_survive_cannot_be_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exit stack in which the scope was entered last."""
    scope = onloop.scope()
    await scope.__aenter__()
    block = transaction.atomic()
    await block.__aenter__()
    await Author.objects.acreate(name="Ann")
    await scope.__aexit__(None, None, None)
    with pytest.raises(TransactionManagementError, match="has ended"):
        await block.__aexit__(None, None, None)
    assert not connection.in_atomic_block
    assert await anames() == []
    assert "left open" in caplog.text
    await assert_all_back()


async def test_a_thousand_scopes_in_one_task_leave_nothing_on_it() -> None:
    """A worker opens a scope for each piece of its work, and runs for months."""

    async def worker() -> int:
        for _ in range(1000):
            async with onloop.scope():
                pass
        gc.collect()
        mine = asyncio.current_task()
        # Callbacks that were left on the task would keep theirs alive.
        kept = [thing for thing in gc.get_objects() if type(thing) is scopes.Scope]
        return len([scope for scope in kept if scope.task is mine])

    assert await asyncio.create_task(worker()) <= 1


async def test_tasks_that_make_their_successors_keep_no_chain_of_scopes() -> None:
    left = 50
    done = asyncio.Event()

    async def link() -> None:
        nonlocal left
        await anames()
        left -= 1
        if left:
            successors.append(asyncio.create_task(link()))
            successors.pop(0)
        else:
            gc.collect()
            scopes_now.append(sum(type(thing) is scopes.Scope for thing in gc.get_objects()))
            done.set()

    scopes_now: list[int] = []
    gc.collect()
    before = sum(type(thing) is scopes.Scope for thing in gc.get_objects())
    successors = [asyncio.create_task(link())]
    await done.wait()
    assert scopes_now[0] <= before + 3
    await successors[0]


# --- async generators -------------------------------------------------------------------------


async def rows_in_a_scope() -> AsyncIterator[str]:
    async with onloop.scope():
        for author in await Author.objects.order_by("name").alist():
            yield author.name


async def test_an_async_generator_may_hold_a_scope_over_its_yields() -> None:
    await Author.objects.abulk_create(Author(name=name) for name in "ab")
    before = connections["default"]
    assert [name async for name in rows_in_a_scope()] == ["a", "b"]
    assert connections["default"] is before
    await assert_all_back()


async def test_an_async_generator_that_is_closed_ends_its_scope() -> None:
    await Author.objects.abulk_create(Author(name=name) for name in "ab")
    before = connections["default"]
    async with contextlib.aclosing(rows_in_a_scope()) as rows:
        async for _ in rows:
            break
    assert connections["default"] is before
    await assert_all_back()


async def test_an_async_generator_finalised_elsewhere_does_not_end_its_tasks_scope() -> None:
    """The loop closes it in a task of its own. What the scope has is back with its task."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context["exception"])
    )
    await Author.objects.abulk_create(Author(name=name) for name in "ab")

    async def work() -> None:
        async for _ in rows_in_a_scope():
            break
        await eventually(lambda: complaints)
        await anames()

    await asyncio.create_task(work())
    assert "left in another" in str(complaints[0])
    await assert_all_back()


# --- a scope of a bare task -------------------------------------------------------------------


async def test_a_bare_tasks_scope_is_gone_with_it() -> None:
    task = asyncio.create_task(anames())
    await task
    await eventually(lambda: task not in scopes._scopes)


async def test_a_bare_task_that_fails_gives_everything_back() -> None:
    async def work() -> None:
        await pinned()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.create_task(work())
    await assert_all_back()


def test_the_scopes_of_a_loop_that_was_closed_with_tasks_in_it_are_swept(
    bare_loop: asyncio.AbstractEventLoop,
) -> None:
    async def stuck() -> None:
        await pinned()
        reached.append(connections["default"])
        await asyncio.get_running_loop().create_future()

    reached: list[Any] = []
    task = bare_loop.create_task(stuck())
    while not reached:
        bare_loop.run_until_complete(asyncio.sleep(0.001))
    bare_loop.close()
    asyncio.run(afetch("SELECT 1"))
    assert task not in scopes._scopes
    assert reached[0].connection is None
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_the_wrapper_of_an_ended_scope_is_no_way_to_its_connection(
    run_task: Callable[..., Any],
) -> None:
    async def work() -> Any:
        async with onloop.scope():
            await pinned()
            return connections["default"]

    wrapper = await run_task(work())
    assert wrapper.connection is None
    assert not wrapper.in_atomic_block
