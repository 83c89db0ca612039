"""No suspended greenlet stays behind where a coroutine is closed while it waits."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from onloop import bridge
from tests.loops import steps, suspended_bridges


def begin(function, *args):
    """Drive a bridge to its first wait by hand, and return its coroutine."""
    coro = bridge.run(function, *args)
    coro.send(None)
    return coro


def wait(log):
    try:
        bridge.await_(asyncio.sleep(0))
    except BaseException as exc:
        log.append(type(exc))
        raise
    finally:
        log.append("finally")


ENDED = [GeneratorExit, "finally"]


def test_a_bridge_that_waits_is_seen_by_these_tests(runner):
    async def main():
        coro = begin(wait, [])
        seen = len(suspended_bridges())
        coro.close()
        return seen, len(suspended_bridges())

    assert runner.run(main()) == (1, 0)


async def close_here(coro):
    coro.close()


async def close_in_another_bridge(coro):
    await bridge.run(coro.close)


async def close_in_another_task(coro):
    await asyncio.create_task(close_here(coro))


async def close_in_a_bridge_of_another_task(coro):
    await asyncio.create_task(close_in_another_bridge(coro))


async def close_in_a_callback(coro):
    done = asyncio.get_running_loop().create_future()

    def callback():
        coro.close()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(callback)
    await done


closing = pytest.mark.parametrize(
    "close",
    [
        close_here,
        close_in_another_bridge,
        close_in_another_task,
        close_in_a_bridge_of_another_task,
        close_in_a_callback,
    ],
)


@closing
def test_closing_raises_generator_exit_at_the_wait(runner, close):
    async def main():
        log = []
        await close(begin(wait, log))
        return log

    assert runner.run(main()) == ENDED


@closing
def test_a_further_wait_while_closing_raises_generator_exit_too(runner, close):
    def function(log):
        try:
            bridge.await_(asyncio.sleep(0))
        finally:
            for _ in range(2):
                try:
                    bridge.await_(asyncio.sleep(0))
                except BaseException as exc:  # noqa: BLE001 - whichever it is
                    log.append(type(exc))

    async def main():
        log = []
        await close(begin(function, log))
        return log

    assert runner.run(main()) == [GeneratorExit, GeneratorExit]


@closing
def test_what_is_awaited_while_closing_does_not_begin(runner, close):
    async def late(log):
        log.append("began")

    def function(log):
        try:
            bridge.await_(asyncio.sleep(0))
        finally:
            bridge.await_(late(log))

    async def main():
        log = []
        await close(begin(function, log))
        return log

    assert runner.run(main()) == []


@closing
def test_whoever_closes_goes_on_as_before(runner, close):
    async def main():
        before = asyncio.current_task(), bridge.active()
        await close(begin(wait, []))
        await steps()
        return before == (asyncio.current_task(), bridge.active())

    assert runner.run(main())


def test_closing_after_the_loop_has_ended_raises_generator_exit(bare_loop):
    log = []

    async def main():
        return begin(wait, log)

    coro = bare_loop.run_until_complete(main())
    bare_loop.close()
    coro.close()
    assert log == ENDED


def test_a_further_wait_after_the_loop_has_ended_raises_generator_exit_too(bare_loop):
    log = []

    def function():
        try:
            bridge.await_(asyncio.sleep(0))
        finally:
            log.append(bridge.active())
            wait(log)

    async def main():
        return begin(function)

    coro = bare_loop.run_until_complete(main())
    bare_loop.close()
    coro.close()
    assert log == [False, *ENDED]


def test_a_coroutine_that_nobody_holds_any_more_is_closed(runner):
    async def main():
        log = []
        begin(wait, log)
        gc.collect()
        return log

    assert runner.run(main()) == ENDED


def test_closing_what_has_not_begun_runs_nothing(runner):
    async def main():
        log = []
        bridge.run(wait, log).close()
        return log

    assert runner.run(main()) == []


def test_code_that_swallows_generator_exit_may_end_normally(runner):
    def function(log):
        try:
            bridge.await_(asyncio.sleep(0))
        except GeneratorExit:
            log.append("went on")

    async def main():
        log = []
        begin(function, log).close()
        return log

    assert runner.run(main()) == ["went on"]


def test_an_error_while_cleaning_up_comes_out_of_close(runner):
    def function():
        try:
            bridge.await_(asyncio.sleep(0))
        finally:
            raise LookupError

    async def main():
        with pytest.raises(LookupError):
            begin(function).close()

    runner.run(main())


def test_a_coroutine_inside_the_bridge_cleans_up_as_far_as_it_can_without_waiting(runner):
    log = []

    async def inner():
        try:
            await asyncio.sleep(0)
        finally:
            log.append("inner")
            await asyncio.sleep(0)
            log.append("not reached")

    def function():
        try:
            bridge.await_(inner())
        finally:
            log.append("outer")

    async def main():
        begin(function).close()

    runner.run(main())
    assert log == ["inner", "outer"]


def test_context_variables_hold_while_closing(runner):
    from tests.test_bridge import colour

    def function(log):
        colour.set("mine")
        try:
            bridge.await_(asyncio.sleep(0))
        finally:
            log.append(colour.get())

    async def other(coro):
        colour.set("theirs")
        coro.close()
        return colour.get()

    async def first(log):
        return begin(function, log)

    async def main():
        log = []
        coro = await asyncio.create_task(first(log))
        log.append(await asyncio.create_task(other(coro)))
        return log

    assert runner.run(main()) == ["mine", "theirs"]


@pytest.mark.parametrize("ended", [False, True], ids=["that-lives", "that-has-ended"])
def test_closing_what_began_in_another_thread_raises_nothing(bare_loop, ended):
    """A greenlet runs in its own thread only; with that thread it goes."""
    log, coros = [], []
    begun, may_end = threading.Event(), threading.Event()

    async def main():
        coros.append(begin(wait, log))
        begun.set()
        may_end.wait(90)

    thread = threading.Thread(target=bare_loop.run_until_complete, args=[main()])
    thread.start()
    assert begun.wait(90)
    if ended:
        may_end.set()
        thread.join()
    coros.pop().close()
    may_end.set()
    thread.join()
    # The greenlets of a thread go as the system ends it, which is after `join` has returned.
    deadline = time.monotonic() + 90
    while suspended_bridges() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert log == []
