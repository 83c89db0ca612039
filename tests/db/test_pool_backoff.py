"""The pool by itself, while no connection can be opened."""

from __future__ import annotations

import asyncio
import time

import pytest

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable, PoolTimeout
from onloop.db.pool.backoff import FIRST_S, LONGEST_S, Backoff

from .eventually import eventually
from .pooled import Connection, Pooled, until_waiting


async def fail_once(pooled: Pooled) -> None:
    pooled.driver.fail = True
    with pytest.raises(DatabaseUnavailable, match="nobody there"):
        await pooled.aget()


# --- when to try ------------------------------------------------------------------------------


def test_intervals_double_up_to_a_bound_with_jitter() -> None:
    backoff = Backoff()
    seen = []
    for n in range(10):
        now = 1000.0 * n
        backoff.failed(backoff.begin(), "no", now)
        seen.append(backoff.retry_at - now)
        longest = min(FIRST_S * 2**n, LONGEST_S)
        assert longest / 2 <= seen[-1] <= longest
    assert len({delay / min(FIRST_S * 2**n, LONGEST_S) for n, delay in enumerate(seen)}) == 10


def test_failures_of_attempts_that_began_together_count_once() -> None:
    backoff = Backoff()
    attempts = [backoff.begin() for _ in range(5)]
    for attempt in attempts:
        backoff.failed(attempt, "no", 0.0)
    assert backoff.failures == 1


def test_one_attempt_at_a_time_is_made_after_a_failure() -> None:
    backoff = Backoff()
    backoff.failed(backoff.begin(), "no", 0.0)
    assert not backoff.may_try(0.0)
    assert backoff.may_try(FIRST_S)
    probe = backoff.begin()
    assert not backoff.may_try(FIRST_S)
    backoff.abandoned(probe)  # it was cancelled: somebody else may
    assert backoff.may_try(FIRST_S)
    backoff.succeeded()
    assert backoff.may_try(0.0)


# --- callers ----------------------------------------------------------------------------------


async def test_callers_are_refused_at_once_between_two_attempts() -> None:
    pooled = Pooled()
    await fail_once(pooled)
    attempts = pooled.driver.attempts
    with pytest.raises(DatabaseUnavailable, match=r"nobody there \(attempt 1 failed; the next"):
        await pooled.aget()
    assert pooled.driver.attempts == attempts
    assert pooled.pool.stats()["pool_size"] == 0


async def test_the_first_caller_after_the_interval_tries_again() -> None:
    pooled = Pooled(max_size=1)
    await fail_once(pooled)
    pooled.driver.fail = False

    async def served() -> bool:
        try:
            pooled.put(await pooled.aget())
        except DatabaseUnavailable:
            return False
        return True

    await eventually(served)
    pooled.assert_whole()


async def test_many_callers_of_an_absent_server_make_few_attempts() -> None:
    pooled = Pooled(max_size=10)
    pooled.driver.fail = True
    for _ in range(20):
        results = await asyncio.gather(
            *(pooled.aget() for _ in range(50)), return_exceptions=True
        )
        assert all(isinstance(result, DatabaseUnavailable) for result in results)
    # One finds out, and after that there is one attempt an interval.
    assert pooled.driver.attempts == pooled.pool._backoff.failures < 20
    assert pooled.pool.stats()["pool_size"] == pooled.pool.stats()["requests_waiting"] == 0


async def fails_once(opening: asyncio.Event, pooled: Pooled) -> asyncio.Task[Connection]:
    """Begin an attempt that goes on until `opening` is set, and fails then."""

    def open_slowly() -> Connection:
        bridge.await_(opening.wait())
        raise DatabaseUnavailable("nobody there")

    attempt = asyncio.create_task(bridge.run(pooled.pool.get, open_slowly))
    await asyncio.sleep(0)
    return attempt


async def test_those_who_wait_for_an_attempt_hear_of_its_failure() -> None:
    pooled = Pooled(max_size=1)
    opening = asyncio.Event()
    first = await fails_once(opening, pooled)
    waiters = [pooled.waiter() for _ in range(3)]
    await until_waiting(pooled, 3)
    opening.set()
    results = await asyncio.gather(first, *waiters, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    assert pooled.driver.attempts == 0  # nobody else tried
    assert pooled.pool.stats()["pool_size"] == 0


async def test_who_cannot_open_another_waits_for_one_that_is_out() -> None:
    pooled = Pooled(max_size=5)
    borrowed = await pooled.aget()
    pooled.driver.fail = True
    waiters = [pooled.waiter() for _ in range(2)]
    await until_waiting(pooled, 2)
    pooled.put(borrowed)
    assert await waiters[0] is borrowed
    pooled.put(borrowed)
    assert await waiters[1] is borrowed
    pooled.put(borrowed)
    pooled.assert_whole()


async def test_who_waits_for_one_that_is_out_is_let_to_open_when_the_server_is_back() -> None:
    pooled = Pooled(max_size=5)
    borrowed = await pooled.aget()
    pooled.driver.fail = True
    waiters = [pooled.waiter() for _ in range(3)]
    await until_waiting(pooled, 3)
    pooled.driver.fail = False
    for waiter in waiters:
        pooled.put(await waiter)
    pooled.put(borrowed)
    pooled.assert_whole()


async def test_who_waits_is_let_to_open_though_the_one_that_failed_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller that waits since before the failure knows of no interval to look after."""
    monkeypatch.setattr("onloop.db.pool.pool.LOOK_AGAIN_S", 0.01)
    pooled = Pooled(max_size=2, timeout=60)
    borrowed = await pooled.aget()
    opening = asyncio.Event()
    first = await fails_once(opening, pooled)
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    opening.set()
    await until_waiting(pooled, 2)  # for the one that is out
    first.cancel()
    async with asyncio.timeout(30):
        pooled.put(await waiter)
    pooled.put(borrowed)
    pooled.assert_whole()


async def test_who_waits_for_one_that_is_out_hears_when_it_does_not_come_back() -> None:
    pooled = Pooled(max_size=5)
    borrowed = await pooled.aget()
    pooled.driver.fail = True
    waiters = [pooled.waiter() for _ in range(2)]
    await until_waiting(pooled, 2)
    borrowed.clean = False
    pooled.put(borrowed)
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    assert pooled.pool.stats()["pool_size"] == 0


async def test_a_time_out_says_why_there_are_not_more_connections() -> None:
    pooled = Pooled(max_size=5, timeout=0.05)
    borrowed = await pooled.aget()
    pooled.driver.fail = True
    with pytest.raises(PoolTimeout, match=r"size 1 of 5.*The last attempt.*nobody there"):
        await pooled.aget()
    pooled.put(borrowed)
    pooled.assert_whole()


async def test_an_urgent_caller_does_not_wait_for_others() -> None:
    pooled = Pooled(max_size=5)
    borrowed = await pooled.aget()
    pooled.driver.fail = True
    with pytest.raises(DatabaseUnavailable, match="nobody there"):
        await bridge.run(pooled.pool.get, pooled.driver.open, urgent=True)
    pooled.put(borrowed)
    pooled.assert_whole()


async def test_an_attempt_that_is_cancelled_lets_the_next_caller_try() -> None:
    pooled = Pooled(max_size=1)
    await fail_once(pooled)
    await eventually(lambda: time.monotonic() >= pooled.pool.retry_at)

    def open_for_ever() -> Connection:
        bridge.await_(asyncio.Event().wait())
        raise AssertionError

    probe = asyncio.create_task(bridge.run(pooled.pool.get, open_for_ever))
    await asyncio.sleep(0)
    waiter = pooled.waiter()
    await until_waiting(pooled, 1)
    pooled.driver.fail = False
    probe.cancel()
    pooled.put(await waiter)
    pooled.assert_whole()


async def test_another_error_while_opening_is_raised_and_holds_nobody_up() -> None:
    pooled = Pooled(max_size=1)

    def wrong() -> Connection:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(pooled.pool.get, wrong)
    pooled.put(await pooled.aget())
    pooled.assert_whole()
