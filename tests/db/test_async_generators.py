"""Generators that hold an `atomic` block over their yields, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import all_back, anames, assert_all_back, names

pytestmark = pytest.mark.usefixtures("db_clean")


async def writing(*to_write: str) -> AsyncIterator[str]:
    async with transaction.atomic():
        for name in to_write:
            await Author.objects.acreate(name=name)
            yield name


def writing_sync(*to_write: str) -> Iterator[str]:
    with transaction.atomic():
        for name in to_write:
            Author.objects.create(name=name)
            yield name


def test_a_block_over_yields_commits_when_the_generator_is_used_up(
    runner: asyncio.Runner,
) -> None:
    async def main() -> list[str]:
        assert [name async for name in writing("a", "b")] == ["a", "b"]
        assert not connection.in_atomic_block
        return await anames()

    assert runner.run(main()) == ["a", "b"]


def test_a_generator_that_is_closed_rolls_its_block_back(runner: asyncio.Runner) -> None:
    async def main() -> list[str]:
        async with contextlib.aclosing(writing("a", "b")) as rows:
            async for _ in rows:
                break
        assert not connection.in_atomic_block
        return await anames()

    assert runner.run(main()) == []


def test_a_generator_that_is_left_by_break_is_rolled_back_by_the_loops_hook(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[str]:
        async for _ in writing("a", "b"):
            break
        await eventually(lambda: not connection.in_atomic_block)
        await Author.objects.acreate(name="after")
        found = await anames()
        await assert_all_back()
        return found

    assert runner.run(main()) == ["after"]
    assert "aclosing" in caplog.text


def test_a_generator_left_by_break_costs_an_outer_block_only_its_savepoint(
    runner: asyncio.Runner,
) -> None:
    async def main() -> list[str]:
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            wrapper = connection.atomic_blocks
            async for _ in writing("inner"):
                break
            await eventually(lambda: len(wrapper) == 1)
            await Author.objects.acreate(name="after")
        return await anames()

    assert runner.run(main()) == ["after", "outer"]


@pytest.mark.parametrize("outer", [False, True], ids=["alone", "in a block"])
@pytest.mark.parametrize("what", ["statement", "block"])
async def test_what_waits_while_a_finaliser_rolls_back_goes_on_outside_of_that_block(
    forced_window: Any, outer: bool, what: str
) -> None:
    name = "savepoint_rollback" if outer else "rollback"
    target = f"django.db.backends.base.base.BaseDatabaseWrapper.{name}"

    async def work() -> None:
        async with forced_window.at(target, before=True) as window:
            async for _ in writing("goes"):
                break
            await window.reached()
            released = asyncio.create_task(release(window))
            if what == "statement":
                await Author.objects.acreate(name="stays")
            else:
                async with transaction.atomic():
                    await Author.objects.acreate(name="stays")
            await released

    async def release(window: Any) -> None:
        turn = wrapper.turn
        await eventually(lambda: turn._waiting)
        window.release()

    wrapper: Any = connections["default"]
    async with transaction.atomic() if outer else contextlib.nullcontext():
        await work()
    assert await anames() == ["stays"]
    await assert_all_back()


async def test_a_generator_that_was_left_over_is_rolled_back_at_the_end_of_its_scope(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = writing("a", "b")
    async with onloop.scope():
        await anext(kept)
    assert await anames() == []
    await assert_all_back()
    with pytest.raises(TransactionManagementError, match="has ended"):
        [name async for name in kept]
    assert "left open" in caplog.text


async def test_a_generator_that_goes_on_in_another_task_does_not_commit_half_of_its_work() -> (
    None
):
    """What it does there is not in its transaction, which its own error tells."""
    rows = writing("a")
    await anext(rows)

    async def goes_on() -> None:
        async with onloop.scope():
            await anext(rows, None)

    with pytest.raises(TransactionManagementError, match="and left in another"):
        await asyncio.create_task(goes_on())
    assert not connection.in_atomic_block
    assert await anames() == []
    await assert_all_back()


async def test_a_child_may_go_on_with_a_generator_of_its_parent() -> None:
    """It was made inside of the block, so it stands in it."""
    rows = writing("a", "b")
    await anext(rows)

    async def goes_on() -> list[str]:
        return [name async for name in rows]

    assert await asyncio.create_task(goes_on()) == ["b"]
    assert await anames() == ["a", "b"]
    await assert_all_back()


async def test_an_error_that_leaves_a_generator_in_another_task_stays_that_error() -> None:
    rows: Any = writing("a")
    await anext(rows)

    async def throws() -> None:
        async with onloop.scope():
            await rows.athrow(ZeroDivisionError)

    with pytest.raises(ZeroDivisionError):
        await asyncio.create_task(throws())
    assert await anames() == []
    await assert_all_back()


# --- synchronous ones -------------------------------------------------------------------------


async def test_a_sync_generator_in_a_bridge_rolls_back_at_its_break() -> None:
    def work() -> None:
        for _ in writing_sync("a", "b"):
            break
        assert not connection.in_atomic_block
        assert names() == []

    await bridge.run(work)
    await assert_all_back()


async def test_a_sync_generator_that_is_collected_outside_of_a_bridge_does_not_wait() -> None:
    """Where there is no waiting, its connection is thrown away."""
    kept: list[Any] = []

    def work() -> None:
        kept.append(writing_sync("a", "b"))
        next(kept[0])

    await bridge.run(work)
    assert connection.in_atomic_block
    kept.clear()
    gc.collect()
    assert not connection.in_atomic_block
    await Author.objects.acreate(name="after")
    assert await anames() == ["after"]
    await assert_all_back()


async def test_an_inner_one_that_is_collected_outside_of_a_bridge_takes_the_outer_block() -> (
    None
):
    """There was no way to roll back to its savepoint."""
    kept: list[Any] = []

    def work() -> None:
        kept.append(writing_sync("a", "b"))
        next(kept[0])

    async def outer() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            await bridge.run(work)
            kept.clear()
            gc.collect()

    with pytest.raises(TransactionManagementError):
        await outer()
    assert await anames() == []
    await assert_all_back()


async def test_a_sync_generator_that_is_collected_in_a_thread_does_not_wait_there() -> None:
    kept: list[Any] = []

    def work() -> None:
        kept.append(writing_sync("a", "b"))
        next(kept[0])

    async with onloop.scope():
        await bridge.run(work)

        def collect() -> None:
            kept.clear()
            gc.collect()

        thread = threading.Thread(target=collect)
        thread.start()
        thread.join(90)
        assert not connection.in_atomic_block
        assert await anames() == []
    await assert_all_back()


async def test_an_iterator_that_is_collected_elsewhere_gives_its_connection_back() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))
    kept: list[Any] = []

    def work() -> None:
        kept.append(Author.objects.iterator(chunk_size=10))
        next(kept[0])

    for where in ("task", "thread", "here"):
        await bridge.run(work)
        if where == "thread":
            await asyncio.get_running_loop().run_in_executor(None, kept.clear)
        elif where == "task":
            asyncio.get_running_loop().call_soon(kept.clear)
            await eventually(lambda: not kept)
        else:
            kept.clear()
        gc.collect()
        assert await Author.objects.acount() == 30
        await eventually(all_back)


async def test_a_coroutine_that_is_closed_in_its_block_leaves_no_transaction() -> None:
    waiting = asyncio.Event()

    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="Ann")
            waiting.set()
            bridge.await_(asyncio.get_running_loop().create_future())

    async def drive() -> None:
        coro = bridge.run(work)
        steps: Any = coro.__await__()
        future = steps.send(None)
        while not waiting.is_set():
            future._asyncio_future_blocking = False
            await asyncio.wait([future])
            future = steps.send(None)
        steps.close()

    await asyncio.create_task(drive())
    assert await anames() == []
    await assert_all_back()
