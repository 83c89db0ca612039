"""`Waiter` and `pause`: one caller waits for one value, on a loop or in a thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

from onloop import bridge
from onloop.errors import BridgeRequired
from onloop.waiting import Waiter, pause
from tests.loops import steps, suspended_bridges, until, wait_for_thread

LONG_S = 90


def wait(waiters, timeout_s=LONG_S):
    """Make a waiter, show it to the test, and wait: whether it came, and what."""
    waiter = Waiter()
    waiters.append(waiter)
    return waiter.wait(timeout_s), getattr(waiter, "value", None)


def in_thread(function, *args):
    """Begin `function` in a thread of its own; `join` returns what it returned."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)), daemon=True)
    thread.start()

    def join():
        thread.join(LONG_S)
        return result[0]

    return join


def spin_until(condition):
    """For plain threads; the deadline is for a test that fails."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0)


async def begun(function, *args):
    task = asyncio.create_task(bridge.run(function, *args))
    await steps()
    return task


# --- handing over ---------------------------------------------------------------------------


def test_a_bridge_hands_over_to_a_bridge(runner):
    async def main():
        waiters = []
        task = await begun(wait, waiters)
        waiters[0].set("value")
        return await task

    assert runner.run(main()) == (True, "value")


def test_a_thread_hands_over_to_a_bridge(runner):
    async def main():
        waiters = []
        task = await begun(wait, waiters)
        join = in_thread(waiters[0].set, "value")
        result = await task
        join()
        return result

    assert runner.run(main()) == (True, "value")


def test_a_bridge_hands_over_to_a_thread(runner):
    async def main():
        waiters = []
        join = in_thread(wait, waiters)
        await until(lambda: waiters)
        await bridge.run(waiters[0].set, "value")
        return join()

    assert runner.run(main()) == (True, "value")


def test_a_thread_hands_over_to_a_thread():
    waiters = []
    join = in_thread(wait, waiters)
    spin_until(lambda: waiters)
    waiters[0].set("value")
    assert join() == (True, "value")


@pytest.mark.parametrize("timeout_s", [None, LONG_S, 0])
def test_what_was_handed_over_before_the_wait_is_not_waited_for(runner, timeout_s):
    def function():
        waiter = Waiter()
        waiter.set("value")
        return waiter.wait(timeout_s), waiter.value

    assert runner.run(bridge.run(function)) == (True, "value")


def test_a_loop_that_has_ended_can_still_be_handed_something(bare_loop):
    waiters = []
    task = bare_loop.create_task(bridge.run(wait, waiters))
    bare_loop.run_until_complete(steps())
    task._log_destroy_pending = False
    bare_loop.close()
    waiters[0].set("value")
    in_thread(waiters[0].set, "value")()
    assert waiters[0].done
    task.get_coro().close()


# --- time-outs ------------------------------------------------------------------------------


def test_a_wait_in_a_bridge_ends_after_its_time(runner):
    assert runner.run(bridge.run(wait, [], 0.001)) == (False, None)


def test_a_wait_in_a_thread_ends_after_its_time():
    assert wait([], 0.001) == (False, None)


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_a_time_of_nothing_is_over_at_once(runner, timeout_s):
    assert runner.run(bridge.run(wait, [], timeout_s)) == (False, None)


def test_no_fraction_of_a_millisecond_makes_a_wait_endless(runner):
    """A loop's timer may fire early by what it rounds; uvloop rounds to milliseconds."""

    def waits():
        return [wait([], 0.001 + number * 0.00007)[0] for number in range(30)]

    assert runner.run(bridge.run(waits)) == [False] * 30


def test_a_wait_does_not_end_before_its_time(runner):
    def function():
        loop = asyncio.get_running_loop()
        spent = []
        for number in range(10):
            begin = loop.time()
            wait([], 0.001 + number * 0.0002)
            spent.append(loop.time() - begin >= 0.001 + number * 0.0002 - 1e-9)
        return spent

    assert runner.run(bridge.run(function)) == [True] * 10


class Seen(Waiter):
    """With a weak reference, which `Waiter` has no slot for."""


def test_a_wait_that_is_over_leaves_no_timer(runner):
    def function():
        waiter = Seen()
        asyncio.get_running_loop().call_soon(waiter.set, None)
        assert waiter.wait(LONG_S)
        return weakref.ref(waiter)

    async def main():
        seen = await bridge.run(function)
        await steps()
        gc.collect()
        return seen()

    assert runner.run(main()) is None


# --- cancelling -----------------------------------------------------------------------------


def test_a_wait_can_be_cancelled(runner):
    async def main():
        task = await begun(wait, [])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert runner.run(main())


def test_a_waiter_that_was_cancelled_first_and_given_something_then_is_done(runner):
    async def main():
        waiters = []
        task = await begun(wait, waiters)
        task.cancel()
        waiters[0].set("value")
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiters[0].done

    assert runner.run(main())


def test_a_waiter_that_was_given_something_first_and_cancelled_then_is_done(runner):
    async def main():
        waiters = []
        task = await begun(wait, waiters)
        waiters[0].set("value")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiters[0].done

    assert runner.run(main())


# --- where nothing may wait -----------------------------------------------------------------


@pytest.mark.parametrize("waits", [Waiter, lambda: pause(1)], ids=["Waiter", "pause"])
def test_waiting_on_a_loops_thread_outside_a_bridge_is_refused_with_the_cure(runner, waits):
    async def main():
        with pytest.raises(BridgeRequired, match=r"await onloop\.bridge\.run\(function"):
            waits()

    runner.run(main())


def closing(log):
    try:
        bridge.await_(asyncio.sleep(0))
    finally:
        try:
            Waiter().wait(LONG_S)
        except BaseException as exc:  # noqa: BLE001 - whichever it is
            log.append(type(exc))


def test_a_bridge_whose_coroutine_is_closed_waits_no_more(runner):
    async def main():
        log = []
        coro = bridge.run(closing, log)
        coro.send(None)
        coro.close()
        return log

    assert runner.run(main()) == [GeneratorExit]


def test_a_bridge_whose_loop_has_ended_does_not_block_the_thread(bare_loop):
    log = []

    async def main():
        coro = bridge.run(closing, log)
        coro.send(None)
        return coro

    coro = bare_loop.run_until_complete(main())
    bare_loop.close()
    coro.close()
    assert log == [GeneratorExit]


def test_a_wait_that_is_closed_leaves_no_suspended_greenlet(runner):
    async def main():
        coro = bridge.run(wait, [])
        coro.send(None)
        coro.close()
        return suspended_bridges()

    assert runner.run(main()) == []


# --- pause ----------------------------------------------------------------------------------


def test_the_loop_goes_on_while_a_bridge_pauses(runner):
    async def main():
        task = await begun(pause, LONG_S)
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(main())


def test_a_pause_in_a_bridge_ends(runner):
    runner.run(bridge.run(pause, 0.001))


def test_a_pause_in_a_thread_blocks_that_thread_alone(runner):
    async def main():
        ended = threading.Event()

        def function():
            pause(0.01)
            ended.set()

        join = in_thread(function)
        await wait_for_thread(ended)
        join()

    runner.run(main())
