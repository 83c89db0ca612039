"""The process that measures Onloop's own parts, on a real pool of real connections."""

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TextIO

from asgiref.sync import ThreadSensitiveContext, sync_to_async

import onloop
from onloop import bridge

from .worker import begin

POOL_SIZE = 10
TASKS = 50

Loop = Callable[[int], Awaitable[Any]]  # does its thing so many times


def nothing() -> None:
    """The function that is called over every kind of crossing."""


async def fresh_bridges(times: int) -> None:
    for _ in range(times):
        await bridge.run(nothing)


async def hops(times: int) -> None:
    hop = sync_to_async(nothing)
    async with ThreadSensitiveContext():
        for _ in range(times):
            await hop()


async def hops_of_requests(times: int) -> None:
    hop = sync_to_async(nothing)
    for _ in range(times):
        async with ThreadSensitiveContext():
            await hop()


async def plain_calls(times: int) -> None:
    for _ in range(times):
        nothing()


async def adapted_calls(times: int) -> None:
    adapted = onloop.sync_to_async(nothing)

    async def inside() -> None:
        for _ in range(times):
            await adapted()

    await bridge.run(bridge.await_, inside())


async def waits(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def bridged_waits(times: int) -> None:
    def inside() -> None:
        for _ in range(times):
            bridge.await_(asyncio.sleep(0))

    await bridge.run(inside)


async def in_tasks(loop: Loop, times: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(loop(times // TASKS))


@asynccontextmanager
async def onloop_pool() -> Any:
    """The very pool that Django's connections borrow from, filled by queries that overlap."""
    import django
    from django.db import connection

    from onloop.db.pools import pools_of

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.shop.settings"
    os.environ["BENCH_CONTENDER"] = "onloop"
    os.environ["BENCH_POOL_SIZE"] = str(POOL_SIZE)
    django.setup()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")

    async with asyncio.TaskGroup() as group:
        for _ in range(POOL_SIZE):
            group.create_task(bridge.run(hold))
    [pool] = pools_of(asyncio.get_running_loop())
    assert pool.stats()["pool_available"] == POOL_SIZE, pool.stats()
    try:
        yield pool
    finally:
        assert pool.stats()["pool_available"] == POOL_SIZE, pool.stats()


@asynccontextmanager
async def psycopg_pool() -> Any:
    from psycopg_pool import AsyncConnectionPool

    kwargs = {
        "host": os.environ["BENCH_PG_HOST"],
        "port": os.environ["BENCH_PG_PORT"],
        "user": os.environ["BENCH_PG_USER"],
        "dbname": os.environ["BENCH_PG_NAME"],
        "autocommit": True,
    }
    sizes = {"min_size": POOL_SIZE, "max_size": POOL_SIZE}
    async with AsyncConnectionPool(kwargs=kwargs, open=False, **sizes) as pool:
        await pool.wait()
        yield pool


def _no_more() -> Any:
    raise AssertionError("every connection of the pool is open already")


def borrowing(pool: Any, held: bool) -> Loop:
    def inside(times: int) -> None:
        for _ in range(times):
            connection = pool.get(_no_more)
            if held:
                bridge.await_(asyncio.sleep(0))
            pool.put(connection)

    async def borrow(times: int) -> None:
        await bridge.run(inside, times)

    return borrow


def borrowing_psycopg(pool: Any, held: bool) -> Loop:
    async def borrow(times: int) -> None:
        for _ in range(times):
            connection = await pool.getconn()
            if held:
                await asyncio.sleep(0)
            await pool.putconn(connection)

    return borrow


async def timed(loop: Loop, seconds: float) -> float:
    """µs each, over at least that many seconds."""
    times = TASKS * 4
    while True:
        begun = time.perf_counter()
        await loop(times)
        elapsed = time.perf_counter() - begun
        if elapsed >= seconds:
            return elapsed / times * 1e6
        # Enough for the time left to fill, yet no leap from a first, cold measurement.
        times = TASKS * (1 + int(times * min(10.0, 1.2 * seconds / elapsed)) // TASKS)


def comparisons(ours: Any, psycopgs: Any) -> list[tuple[str, str, Loop, Loop]]:
    def many(loop: Loop) -> Loop:
        return lambda times: in_tasks(loop, times)

    return [
        ("a function in a fresh bridge", "asgiref's hop, same context", fresh_bridges, hops),
        (
            "a function in a fresh bridge",
            "asgiref's hop, a context per request",
            fresh_bridges,
            hops_of_requests,
        ),
        ("an adapted function inside a bridge", "a plain call", adapted_calls, plain_calls),
        ("a wait inside a bridge", "a plain await", bridged_waits, waits),
        (
            "pool: borrow and return, 1 task",
            "psycopg_pool",
            borrowing(ours, held=False),
            borrowing_psycopg(psycopgs, held=False),
        ),
        (
            f"pool: the same, {TASKS} tasks for {POOL_SIZE} connections",
            "psycopg_pool",
            many(borrowing(ours, held=True)),
            many(borrowing_psycopg(psycopgs, held=True)),
        ),
    ]


async def serve(answers: TextIO) -> None:
    print(json.dumps({"ready": {}}), file=answers, flush=True)
    async with onloop_pool() as ours, psycopg_pool() as psycopgs:
        while line := await asyncio.to_thread(sys.stdin.readline):
            seconds = json.loads(line)["seconds"] / 4
            costs = [
                {
                    "what": what,
                    "instead_of": instead_of,
                    "onloop_us": await timed(mine, seconds),
                    "other_us": await timed(other, seconds),
                }
                for what, instead_of, mine, other in comparisons(ours, psycopgs)
            ]
            print(json.dumps({"costs": costs}), file=answers, flush=True)


def main() -> None:
    _, answers = begin()
    try:
        asyncio.run(serve(answers))
    except Exception:  # noqa: BLE001 - the parent is to hear of it
        print(json.dumps({"error": traceback.format_exc()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
