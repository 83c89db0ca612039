"""The pool by itself: cancelled hand-overs, threads, random use."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable

from .pooled import Pooled, until_waiting

# --- cancelled hand-overs ---------------------------------------------------------------------


async def test_a_waiter_that_is_cancelled_just_before_the_hand_over_is_passed_over() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    first, second = pooled.waiter(), pooled.waiter()
    await until_waiting(pooled, 2)
    first.cancel()
    pooled.put(connection)
    assert await second is connection
    assert first.cancelled()


async def test_a_waiter_that_is_cancelled_just_after_the_hand_over_passes_it_on() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    first, second = pooled.waiter(), pooled.waiter()
    await until_waiting(pooled, 2)
    pooled.put(connection)
    first.cancel()
    assert await second is connection
    assert first.cancelled()


async def test_a_cancelled_waiter_with_nobody_behind_it_puts_the_connection_back() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    pooled.put(connection)
    waiter.cancel()
    await asyncio.wait([waiter])
    pooled.assert_whole()


async def test_a_cancelled_waiter_that_was_to_open_a_connection_lets_the_next_one_do_so() -> (
    None
):
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    first, second = pooled.waiter(), pooled.waiter()
    await until_waiting(pooled, 2)
    pooled.pool.discard(connection)
    first.cancel()
    pooled.put(await second)
    pooled.assert_whole()


# --- threads ----------------------------------------------------------------------------------


def test_plain_threads_borrow_and_wait_by_blocking() -> None:
    pooled = Pooled(max_size=2)

    def work(_: int) -> None:
        for _ in range(50):
            connection = pooled.get()
            assert connection.borrowed_by is None
            connection.borrowed_by = threading.get_ident()
            connection.borrowed_by = None
            pooled.put(connection)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    pooled.assert_whole()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("max_size", [1, 3])
async def test_no_slot_is_lost_in_random_use_by_tasks_and_threads(
    seed: int, max_size: int
) -> None:
    """Cancelled, timed out, failed to open, broken, unclean: all at once."""
    chance = random.Random(seed)
    pooled = Pooled(max_size=max_size)

    def use(pause: Callable[[], None]) -> None:
        connection = pooled.get()
        assert connection.borrowed_by is None
        assert not connection.closed
        me = object()
        connection.borrowed_by = me
        try:
            pause()
            assert connection.borrowed_by is me
        finally:
            connection.borrowed_by = None
            connection.clean = chance.random() > 0.1
            connection.alive = chance.random() > 0.1
            if chance.random() < 0.05:
                pooled.pool.discard(connection)
            else:
                pooled.put(connection)

    def in_task() -> None:
        use(lambda: bridge.await_(asyncio.sleep(0)))

    def in_thread() -> None:
        for _ in range(20):
            try:
                use(lambda: None)
            except DatabaseUnavailable:
                pass

    threads = [asyncio.create_task(asyncio.to_thread(in_thread)) for _ in range(2)]
    for _ in range(60):
        pooled.driver.fail = chance.random() < 0.1
        tasks = [asyncio.create_task(bridge.run(in_task)) for _ in range(max_size + 4)]
        for task in tasks:
            for _ in range(chance.choice([0, 0, 1, 2])):
                await asyncio.sleep(0)
            if chance.random() < 0.4:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [r for r in results if isinstance(r, Exception)]
        assert all(isinstance(r, DatabaseUnavailable) for r in failed), failed
    pooled.driver.fail = False
    await asyncio.gather(*threads)
    pooled.assert_whole()
    assert pooled.driver.open_now <= max_size
