"""The pool by itself. It knows no driver, so its connections here are numbered objects."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable, PoolTimeout, TooManyWaiters
from onloop.db.pool import PoolOptions
from onloop.errors import BridgeRequired

from .pooled import Connection, Pooled, until_waiting

# --- borrowing --------------------------------------------------------------------------------


async def test_a_connection_that_is_back_is_used_again() -> None:
    pooled = Pooled()
    first = await pooled.aget()
    pooled.put(first)
    assert await pooled.aget() is first


async def test_the_one_that_came_back_last_is_used_first() -> None:
    pooled = Pooled()
    first, second = await pooled.aget(), await pooled.aget()
    pooled.put(first)
    pooled.put(second)
    assert await pooled.aget() is second


async def test_it_grows_to_max_size_and_no_further() -> None:
    pooled = Pooled(max_size=3)
    borrowed = [await pooled.aget() for _ in range(3)]
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    assert len(pooled.driver.opened) == 3
    pooled.put(borrowed[0])
    assert await waiter is borrowed[0]


async def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    order: list[int] = []

    async def work(n: int) -> None:
        borrowed = await pooled.aget()
        order.append(n)
        pooled.put(borrowed)

    async with asyncio.TaskGroup() as group:
        for n in range(10):
            group.create_task(work(n))
        await until_waiting(pooled, 10)
        pooled.put(connection)
    assert order == list(range(10))


async def test_an_urgent_caller_gets_one_beyond_max_size_which_does_not_stay() -> None:
    pooled = Pooled(max_size=1)
    first = await pooled.aget()
    second = await bridge.run(pooled.pool.get, pooled.driver.open, urgent=True)
    assert pooled.pool.stats()["pool_size"] == 2
    pooled.put(second)
    assert second.closed
    pooled.put(first)
    pooled.assert_whole()
    assert pooled.pool.stats()["pool_size"] == 1


async def test_a_waiter_gets_what_an_urgent_caller_gives_back() -> None:
    pooled = Pooled(max_size=1)
    first = await pooled.aget()
    urgent = await bridge.run(pooled.pool.get, pooled.driver.open, urgent=True)
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    pooled.put(urgent)
    assert await waiter is urgent
    pooled.put(first)
    pooled.put(urgent)
    assert pooled.pool.stats()["pool_size"] <= 1


# --- refusing ---------------------------------------------------------------------------------


async def test_a_time_out_says_how_large_the_pool_is_and_how_many_wait() -> None:
    pooled = Pooled(max_size=2, timeout=0.05)
    for _ in range(2):
        await pooled.aget()
    waiters = [pooled.waiter() for _ in range(3)]
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(result, PoolTimeout) for result in results)
    assert "none came free within 0.05 s (size 2 of 2, 0 idle, 2 waiting)" in str(results[0])
    assert pooled.pool.stats()["requests_waiting"] == 0


async def test_one_caller_too_many_is_refused_at_once() -> None:
    pooled = Pooled(max_size=1, max_waiting=2)
    connection = await pooled.aget()
    waiters = [pooled.waiter() for _ in range(2)]
    await until_waiting(pooled, 2)
    with pytest.raises(TooManyWaiters, match=r"2 callers wait already \(size 1 of 1"):
        await pooled.aget()
    pooled.put(connection)
    pooled.put(await waiters[0])
    pooled.put(await waiters[1])
    pooled.assert_whole()


async def test_waiting_on_the_loops_thread_outside_of_a_bridge_is_refused() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    with pytest.raises(BridgeRequired, match=r"bridge\.run"):
        pooled.get()
    pooled.put(connection)
    pooled.assert_whole()


@pytest.mark.parametrize("sizes", [{"max_size": 0}, {"min_size": 5, "max_size": 4}])
def test_sizes_that_make_no_sense_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="min_size <= max_size"):
        PoolOptions(**sizes)


# --- opening ----------------------------------------------------------------------------------


async def test_a_task_that_is_cancelled_while_it_opens_frees_its_slot() -> None:
    pooled = Pooled(max_size=1)

    def open_for_ever() -> Connection:
        bridge.await_(asyncio.Event().wait())
        raise AssertionError

    task = asyncio.create_task(bridge.run(pooled.pool.get, open_for_ever))
    await asyncio.sleep(0)
    second = pooled.waiter()
    await until_waiting(pooled, 1)
    task.cancel()
    pooled.put(await second)
    pooled.assert_whole()


# --- giving back ------------------------------------------------------------------------------


async def test_an_unclean_connection_is_closed_and_the_next_waiter_opens_another() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    connection.clean = False
    pooled.put(connection)
    assert connection.closed
    assert await waiter is not connection


async def test_an_idle_connection_that_died_is_replaced() -> None:
    pooled = Pooled()
    connection = await pooled.aget()
    pooled.put(connection)
    connection.alive = False
    assert await pooled.aget() is not connection
    assert connection.closed


async def test_a_connection_older_than_max_lifetime_is_replaced() -> None:
    pooled = Pooled(max_lifetime=0)
    connection = await pooled.aget()
    pooled.put(connection)
    assert await pooled.aget() is not connection
    assert connection.closed


async def test_who_waits_is_not_handed_one_that_is_too_old() -> None:
    """Where somebody always waits, nothing would ever lie in the pool and be looked at."""
    pooled = Pooled(max_size=1)
    borrowed = await pooled.aget()
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    pooled.pool.outdate()
    pooled.put(borrowed)
    found = await waiter
    assert found is not borrowed
    assert borrowed.closed
    pooled.put(found)
    pooled.assert_whole()


async def test_connections_idle_for_too_long_go_down_to_min_size() -> None:
    pooled = Pooled(min_size=1, max_idle=0)
    borrowed = [await pooled.aget() for _ in range(4)]
    for connection in borrowed:
        pooled.put(connection)
    pooled.pool.prune()
    assert pooled.pool.stats()["pool_size"] == 1
    assert not borrowed[-1].closed  # the one that was used last
    pooled.assert_whole()


async def test_a_discarded_connection_is_closed_and_its_slot_free() -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    pooled.pool.discard(connection)
    assert connection.closed
    assert await pooled.aget() is not connection


# --- closing ----------------------------------------------------------------------------------


async def test_close_closes_idle_connections_now_and_borrowed_ones_when_they_are_back() -> None:
    pooled = Pooled()
    idle, borrowed = await pooled.aget(), await pooled.aget()
    pooled.put(idle)
    pooled.pool.close()
    assert idle.closed
    assert not borrowed.closed
    pooled.put(borrowed)
    assert borrowed.closed
    assert pooled.pool.stats()["pool_size"] == 0


async def test_close_tells_those_who_wait() -> None:
    pooled = Pooled(max_size=1)
    borrowed = await pooled.aget()
    waiters = [pooled.waiter() for _ in range(3)]
    await until_waiting(pooled, 3)
    pooled.pool.close()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [str(result) for result in results] == ["The pool 'test' is closed."] * 3
    pooled.put(borrowed)
    assert pooled.pool.stats()["pool_size"] == 0


async def test_a_closed_pool_lends_nothing() -> None:
    pooled = Pooled()
    pooled.pool.close()
    with pytest.raises(DatabaseUnavailable, match="is closed"):
        await pooled.aget()
