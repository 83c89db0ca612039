"""`pool_stats()`: what a pool says of itself, by psycopg_pool's names."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any

import psycopg_pool
import pytest
from django.db import connections, transaction

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable, PoolTimeout, TooManyWaiters

from .helpers import anames, pool_stats
from .pooled import Pooled, until_waiting

COUNTERS = {
    "requests_num", "requests_queued", "requests_wait_ms", "requests_errors", "usage_ms",
    "returns_bad", "connections_num", "connections_ms", "connections_errors",
    "connections_lost",
}  # fmt: skip


def counted(pooled: Pooled) -> dict[str, int]:
    """The counters that are not zero, without times."""
    stats = pooled.pool.stats()
    return {name: stats[name] for name in COUNTERS if stats[name] and "_ms" not in name}


def test_every_name_is_one_of_psycopg_pools() -> None:
    source = inspect.getsource(psycopg_pool.base) + inspect.getsource(psycopg_pool.pool)
    theirs = set(re.findall(r'"((?:pool|requests|usage|returns|connections)_\w+)"', source))
    stats = Pooled().pool.stats()
    assert set(stats) <= theirs
    assert set(stats) > COUNTERS


async def test_what_goes_well_is_counted() -> None:
    pooled = Pooled(max_size=1)
    first = await pooled.aget()
    waiting = pooled.waiter()
    await until_waiting(pooled, 1)
    assert counted(pooled) == {"requests_num": 2, "requests_queued": 1, "connections_num": 1}
    pooled.put(first)
    pooled.put(await waiting)
    pooled.put(await pooled.aget())
    assert counted(pooled) == {"requests_num": 3, "requests_queued": 1, "connections_num": 1}


async def test_each_caller_that_gets_an_error_is_counted_once() -> None:
    pooled = Pooled(max_size=1, max_waiting=1, timeout=0.05)
    held = await pooled.aget()
    waiting = pooled.waiter()
    await until_waiting(pooled, 1)
    with pytest.raises(TooManyWaiters):
        await pooled.aget()
    assert pooled.pool.stats()["requests_errors"] == 1
    with pytest.raises(PoolTimeout):
        await waiting
    assert pooled.pool.stats()["requests_errors"] == 2
    pooled.put(held)


async def test_who_stops_waiting_has_had_no_error() -> None:
    pooled = Pooled(max_size=1)
    held = await pooled.aget()
    waiting = pooled.waiter()
    await until_waiting(pooled, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    pooled.put(held)
    assert counted(pooled) == {"requests_num": 2, "requests_queued": 1, "connections_num": 1}


async def test_attempts_that_fail_are_counted() -> None:
    pooled = Pooled()
    pooled.driver.fail = True
    with pytest.raises(DatabaseUnavailable):
        await pooled.aget()
    assert counted(pooled) == {
        "requests_num": 1, "requests_errors": 1, "connections_num": 1, "connections_errors": 1,
    }  # fmt: skip


async def test_what_comes_back_spoilt_and_what_is_found_dead_are_counted() -> None:
    pooled = Pooled()
    spoilt = await pooled.aget()
    spoilt.clean = False
    pooled.put(spoilt)
    idle = await pooled.aget()
    pooled.put(idle)
    idle.alive = False
    pooled.put(await pooled.aget())
    assert counted(pooled) == {
        "requests_num": 3, "connections_num": 3, "returns_bad": 1, "connections_lost": 1,
    }  # fmt: skip


@pytest.mark.usefixtures("db_clean")
async def test_a_wrapper_tells_of_its_loops_pool(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("told", OPTIONS={"pool": {"min_size": 0, "max_size": 3}})
    await anames(alias)
    async with transaction.atomic(using=alias):
        inside = await pool_stats(alias)
        assert (inside["pool_min"], inside["pool_max"]) == (0, 3)
        await anames(alias)
        inside = await pool_stats(alias)
        assert (inside["pool_size"], inside["pool_available"]) == (1, 0)
    after = await pool_stats(alias)
    assert (after["pool_size"], after["pool_available"]) == (1, 1)
    assert (after["connections_num"], after["requests_waiting"]) == (1, 0)
    assert after["connections_ms"] >= 0 <= after["usage_ms"]


@pytest.mark.usefixtures("db_clean")
async def test_a_plain_thread_has_no_pool_of_a_loop_to_tell_of() -> None:
    def ask() -> Any:
        return connections["default"].pool_stats()

    assert await asyncio.to_thread(ask) == {}
    assert await bridge.run(ask) != {}
