"""A pool for each loop, closed when its loop ends, or from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import connections, transaction

import onloop
from onloop.db import pools
from onloop.db.scope import Scope
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import abackend_pid, anames, assert_all_back
from .pooled import Pooled

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.mark.only_on("postgresql")
def test_the_pool_of_a_loop_that_ended_is_closed(pg_activity: Callable[..., Any]) -> None:
    async def work() -> set[int]:
        return set(await asyncio.gather(*(abackend_pid() for _ in range(3))))

    first = asyncio.run(work())
    second = asyncio.run(work())
    assert not first & second

    def gone() -> bool:  # a back end takes its time to go
        left = {backend.pid for backend in pg_activity(application_name="onloop-tests")}
        return not left & (first | second)

    asyncio.run(eventually(gone))


async def first_asked_by_a_thread() -> None:
    """As that of a synchronous view, without a lifespan that has opened the pool before."""

    def view(scope: Scope) -> None:
        with scope.lend():
            list(Author.objects.all())

    async with onloop.scope() as scope:
        await asyncio.to_thread(view, scope)


async def first_asked_outside_a_bridge() -> None:
    connections["default"].pool_stats()
    await anames()


@pytest.mark.parametrize("ask", [first_asked_by_a_thread, first_asked_outside_a_bridge])
def test_whoever_asks_first_the_pool_is_closed_with_its_loop(
    ask: Callable[[], Awaitable[None]],
) -> None:
    async def work() -> list[Any]:
        await ask()
        return pools.pools_of(asyncio.get_running_loop())

    (pool,) = asyncio.run(work())
    assert pool.closed
    assert pool.stats()["pool_size"] == 0


def test_the_pools_of_a_loop_that_was_never_shut_down_are_swept_up_by_the_next() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(anames())
    (pool,) = pools.pools_of(loop)
    loop.close()
    assert not pool.closed
    asyncio.run(anames())
    assert pool.closed


def test_each_loop_has_a_pool_of_its_own() -> None:
    meet = threading.Barrier(2)
    found: list[Any] = []

    async def work() -> None:
        await anames()
        found.extend(pools.pools_of(asyncio.get_running_loop()))
        meet.wait(90)

    threads = [threading.Thread(target=asyncio.run, args=[work()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(pool) for pool in found}) == 2


def close_pool() -> None:
    connections["default"].close_pool()  # the wrapper of the calling thread


async def test_close_pool_from_another_thread_closes_idle_connections() -> None:
    await anames()
    (pool,) = pools.pools_of(asyncio.get_running_loop())
    await asyncio.to_thread(close_pool)
    assert pool.stats()["pool_size"] == 0
    assert await anames() == []  # a new pool
    await assert_all_back()


async def test_close_pool_closes_those_of_all_loops_the_dead_ones_included() -> None:
    """Called in a plain thread: of this loop, of one that runs in a thread, one that stands
    still and one that was closed."""
    ready, end = threading.Event(), threading.Event()
    found: list[Any] = []

    async def elsewhere(alias: str = "default") -> None:
        await anames(alias)
        found.extend(pools.pools_of(asyncio.get_running_loop()))

    async def stays() -> None:
        await elsewhere()
        ready.set()
        while not end.is_set():
            await asyncio.sleep(0.001)

    def dead_and_still() -> asyncio.AbstractEventLoop:
        dead, still = asyncio.new_event_loop(), asyncio.new_event_loop()
        still.run_until_complete(elsewhere())
        dead.run_until_complete(elsewhere())
        dead.close()
        return still

    running = threading.Thread(target=asyncio.run, args=[stays()])
    running.start()
    try:
        assert await asyncio.to_thread(ready.wait, 10)
        still = await asyncio.to_thread(dead_and_still)
        await elsewhere()
        await elsewhere("other")
        other = found.pop()
        found[:] = list(dict.fromkeys(found))
        assert len(found) == 4
        await asyncio.to_thread(close_pool)
        assert all(pool.closed and pool.stats()["pool_size"] == 0 for pool in found)
        assert not other.closed, "a pool of another alias"
    finally:
        end.set()
        running.join()
    still.close()
    await assert_all_back()


async def test_close_pool_in_a_block_lets_the_block_finish() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        await asyncio.to_thread(pools.close_pools)
        await Author.objects.acreate(name="Bob")
    assert await anames() == ["Ann", "Bob"]
    await assert_all_back()


async def test_threads_that_ask_for_a_pool_at_the_same_time_get_the_same_one() -> None:
    loop = asyncio.get_running_loop()
    start = threading.Barrier(4)

    def make() -> Any:
        pooled = Pooled()
        return pooled.pool, pooled.driver.open

    def ask() -> Any:
        start.wait(90)
        return pools.pool_for(loop, "made up", "name", make)

    found = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
    assert len({id(pool) for pool in found}) == 1
