"""The pool by itself: asking idle connections before they are lent, and what nobody answers."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from onloop.db.errors import PoolTimeout
from onloop.db.pool import pool as module

from .pooled import Connection, Pooled


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_AFTER_S", 0.0)


async def idle(pooled: Pooled, count: int) -> list[Connection]:
    """Let `count` connections lie in the pool; the last one is lent first."""
    out = [await pooled.aget() for _ in range(count)]
    for connection in out:
        pooled.put(connection)
    return out


async def test_after_a_silent_check_no_other_connection_is_asked() -> None:
    """Each would take as long; a new one tells whether the server is there."""
    pooled = Pooled(max_size=3)
    first, second, third = await idle(pooled, 3)
    pooled.pool.suspect()
    third.mute = True
    fourth = await pooled.aget()
    assert pooled.driver.checked == [third]
    assert fourth not in (first, second, third)
    assert [c.closed for c in (first, second, third)] == [True] * 3
    pooled.put(fourth)
    pooled.assert_whole()


async def test_a_suspect_is_asked_once_and_lent_if_it_answers() -> None:
    pooled = Pooled(max_size=3)
    (only,) = await idle(pooled, 1)
    pooled.pool.suspect()
    for _ in range(3):
        assert await pooled.aget() is only
        pooled.put(only)
    assert pooled.driver.checked == [only]
    pooled.assert_whole()


async def test_a_connection_that_was_out_meanwhile_has_worked_when_it_comes_back() -> None:
    pooled = Pooled(max_size=3)
    only = await pooled.aget()
    pooled.pool.suspect()
    pooled.put(only)
    assert await pooled.aget() is only
    assert pooled.driver.checked == []
    pooled.put(only)


async def test_a_suspect_is_asked_in_the_users_way() -> None:
    asked: list[Connection] = []
    pooled = Pooled(max_size=3, check=asked.append)
    (only,) = await idle(pooled, 1)
    pooled.pool.suspect()
    await pooled.aget()
    assert asked == [only]
    assert pooled.driver.checked == []
    pooled.put(only)


class SoftLimit(Exception, asyncio.CancelledError):
    """An interruption that is an `Exception` too, as the soft time limit of a Celery task."""


@pytest.mark.parametrize("interruption", [asyncio.CancelledError, SoftLimit])
async def test_who_is_interrupted_in_a_check_hears_of_it(
    interruption: type[BaseException],
) -> None:
    def check(connection: Connection) -> None:
        raise interruption

    pooled = Pooled(max_size=3, check=check)
    (only,) = await idle(pooled, 1)
    with pytest.raises(interruption):
        await pooled.aget()
    assert only.closed
    pooled.assert_whole()


async def test_checks_get_what_is_left_of_the_callers_time() -> None:
    given: list[float] = []
    pooled = Pooled(max_size=3, timeout=90)
    pooled.driver.prepare = lambda connection, timeout_s: given.append(timeout_s)  # type: ignore[method-assign]
    await idle(pooled, 1)
    pooled.pool.suspect()
    pooled.put(await pooled.aget())
    assert 0 < given[0] <= 45  # the other half is for another connection


async def test_checks_that_use_up_the_callers_time_end_in_a_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0

    def slow(connection: Connection) -> None:
        nonlocal now
        now += 20
        raise ValueError

    monkeypatch.setattr(module, "_monotonic", lambda: now)
    pooled = Pooled(max_size=3, timeout=10, check=slow)
    await idle(pooled, 2)
    with pytest.raises(PoolTimeout, match="checking those that are idle took too long"):
        await bridge.run(pooled.get)
    assert pooled.driver.open_now == pooled.pool.stats()["pool_size"] == 1
