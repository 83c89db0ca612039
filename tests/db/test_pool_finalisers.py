"""The pool by itself: connections that come back from finalisers and other threads.

The garbage collector runs where it likes, in the middle of the pool's own lines too.
"""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onloop.db.pool import PoolOptions

from .pooled import Connection, Driver, Pooled, until_waiting


class Collecting(Driver):
    """Collects garbage whenever the pool asks it something, and while the guard is held."""

    def is_alive(self, connection: Connection) -> bool:
        gc.collect(0)
        return super().is_alive(connection)

    def is_clean(self, connection: Connection) -> bool:
        gc.collect(0)
        return super().is_clean(connection)


class Forgotten:
    """A cursor in a cycle: it gives its connection back when it is collected."""

    def __init__(self, pooled: Pooled, connection: Connection, *, discard: bool) -> None:
        self.myself = self
        self.pooled = pooled
        self.connection = connection
        self.discard = discard

    def __del__(self) -> None:
        if self.discard:
            self.pooled.pool.discard(self.connection)
        else:
            self.pooled.put(self.connection)


@pytest.mark.parametrize("discard", [False, True], ids=["put", "discard"])
async def test_a_finaliser_inside_of_the_guard_does_not_deadlock(discard: bool) -> None:
    """Lines that allocate stand under the guard; here a collection certainly falls there."""
    pooled = Pooled(max_size=2)
    connection = await pooled.aget()
    with pooled.pool._guard:
        Forgotten(pooled, connection, discard=discard)
        gc.collect(0)
    stats = pooled.pool.stats()
    assert stats["pool_size"] == stats["pool_available"] == (0 if discard else 1)


@pytest.mark.parametrize("discard", [False, True], ids=["put", "discard"])
async def test_what_a_finaliser_brings_inside_of_the_guard_goes_to_who_waits(
    discard: bool,
) -> None:
    pooled = Pooled(max_size=1)
    connection = await pooled.aget()
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    with pooled.pool._guard:
        Forgotten(pooled, connection, discard=discard)
        gc.collect(0)
    assert ((await waiter) is connection) is not discard
    pooled.put(waiter.result())
    pooled.assert_whole()


async def test_collections_at_every_step_lose_nothing() -> None:
    pooled = Pooled(max_size=3)
    pooled.driver = Collecting()
    pooled.pool.driver = pooled.driver
    for n in range(30):
        Forgotten(pooled, await pooled.aget(), discard=n % 3 == 0)
        pooled.put(await pooled.aget())
    gc.collect(0)
    pooled.assert_whole()


def test_threads_that_give_back_while_the_guard_is_held_are_not_lost() -> None:
    pooled = Pooled(max_size=8, timeout=90)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            pooled.pool.stats()
            pooled.pool.prune()

    def work(_: int) -> None:
        for n in range(300):
            connection = pooled.get()
            assert connection.borrowed_by is None
            connection.borrowed_by = object()
            connection.clean = n % 17 != 0
            connection.borrowed_by = None
            pooled.put(connection)

    with ThreadPoolExecutor(13) as executor:
        looking = executor.submit(look)
        try:
            list(executor.map(work, range(12)))
        finally:
            stop.set()
        looking.result()
    pooled.assert_whole()


async def test_a_connection_that_is_given_back_twice_is_lent_once() -> None:
    pooled = Pooled(max_size=2)
    connection = await pooled.aget()
    pooled.put(connection)
    pooled.put(connection)
    first, second = await pooled.aget(), await pooled.aget()
    assert first is not second
    pooled.put(first)
    pooled.put(second)
    pooled.assert_whole()


async def test_a_connection_of_nobodys_is_closed() -> None:
    pooled = Pooled()
    stranger: Any = Connection(99)
    pooled.put(stranger)
    assert stranger.closed
    pooled.assert_whole()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"check": "yes"}, "check must be a function"),
        ({"reset": 1}, "reset must be a function"),
        ({"timeout": float("inf")}, "timeout must be a time that ends"),
        ({"reconnect_failed": 1}, "reconnect_failed must be a function"),
        ({"name": 7}, "name must be a text"),
        ({"max_idle": float("nan")}, "max_idle must not be negative"),
    ],
    ids=str,
)
def test_options_of_the_wrong_kind_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        PoolOptions(**wrong)
