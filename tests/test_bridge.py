"""`bridge.run`: what goes into a bridge and what comes out of it."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from greenlet import getcurrent

from onloop import bridge
from onloop.errors import BridgeRequired, LoopRequired, OnloopError
from tests.loops import steps

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


# --- run ------------------------------------------------------------------------------------


def test_run_gives_arguments_in_and_the_result_back(runner):
    def function(*args, **kwargs):
        return args, kwargs

    result = runner.run(bridge.run(function, 1, 2, fn="three", task="four"))
    assert result == ((1, 2), {"fn": "three", "task": "four"})


def test_an_exception_keeps_the_frames_that_raised_it(runner):
    def raises():
        bridge.await_(answer())
        raise LookupError("here")

    def calls():
        raises()

    with pytest.raises(LookupError, match="here") as caught:
        runner.run(bridge.run(calls))
    names = [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert names[-2:] == ["calls", "raises"]


def test_an_exception_of_an_awaitable_keeps_its_frames_too(runner):
    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    def calls():
        bridge.await_(fails())

    with pytest.raises(LookupError) as caught:
        runner.run(bridge.run(calls))
    names = [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert names[-3:] == ["calls", "await_", "fails"]


def test_run_inside_a_bridge_is_a_direct_call(runner):
    def outer():
        here = getcurrent()
        return bridge.await_(bridge.run(getcurrent)) is here

    assert runner.run(bridge.run(outer))


def test_the_current_task_is_the_callers(runner):
    def look():
        before = asyncio.current_task()
        bridge.await_(answer())
        return before, asyncio.current_task()

    async def main():
        return await bridge.run(look), asyncio.current_task()

    seen, mine = runner.run(main())
    assert seen == (mine, mine)


def test_active_is_true_in_the_bridge_alone(runner):
    async def main():
        return bridge.active(), await bridge.run(bridge.active), bridge.active()

    assert runner.run(main()) == (False, True, False)


def test_current_is_the_greenlet_of_the_bridge(runner):
    async def main():
        return bridge.current(), await bridge.run(lambda: bridge.current() is getcurrent())

    assert runner.run(main()) == (None, True)


def test_the_bridge_is_not_active_in_a_thread_that_its_code_starts(runner):
    def look():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(bridge.active).result()

    assert not runner.run(bridge.run(look))


def test_the_loop_goes_on_while_a_bridge_waits(runner):
    async def main():
        door = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(bridge.run(bridge.await_, door))
        await steps()
        door.set_result("open")
        return await waiting

    assert runner.run(main()) == "open"


def test_run_without_a_loop_asks_for_one():
    coro = bridge.run(len, "ab")
    with pytest.raises(LoopRequired, match="inside an asyncio task"):
        coro.send(None)


def test_run_outside_a_task_asks_for_one(bare_loop):
    seen = []

    def callback():
        try:
            bridge.run(len, "ab").send(None)
        except LoopRequired as exc:
            seen.append(exc)
        bare_loop.stop()

    bare_loop.call_soon(callback)
    bare_loop.run_forever()
    assert len(seen) == 1


@pytest.mark.parametrize("error", [BridgeRequired, LoopRequired])
def test_the_errors_are_ours_and_runtime_errors(error):
    assert issubclass(error, OnloopError)
    assert issubclass(error, RuntimeError)


# --- context variables and the exception being handled --------------------------------------


def test_a_context_variable_set_outside_is_seen_inside(runner):
    async def main():
        colour.set("red")
        return await bridge.run(colour.get)

    assert runner.run(main()) == "red"


def test_a_context_variable_set_inside_is_seen_outside(runner):
    def paint():
        colour.set("blue")
        bridge.await_(answer())
        return colour.get()

    async def main():
        return await bridge.run(paint), colour.get()

    assert runner.run(main()) == ("blue", "blue")


def test_a_coroutine_awaited_inside_shares_the_context_variables(runner):
    async def paint():
        await asyncio.sleep(0)
        colour.set("green")

    def function():
        bridge.await_(paint())
        return colour.get()

    assert runner.run(bridge.run(function)) == "green"


def test_thousands_of_interleaved_bridges_keep_their_context_variables_apart(runner):
    random_ = random.Random(5)
    total = 2000

    def walk(name, count):
        colour.set(name)
        for step in range(count):
            bridge.await_(asyncio.sleep(0))
            assert colour.get() == (name if step == 0 else f"{name}-{step - 1}")
            colour.set(f"{name}-{step}")
        return colour.get()

    async def main():
        counts = [random_.randrange(1, 6) for _ in range(total)]
        names = await asyncio.gather(
            *(bridge.run(walk, str(number), count) for number, count in enumerate(counts))
        )
        expected = [f"{number}-{count - 1}" for number, count in enumerate(counts)]
        return names == expected, colour.get()

    assert runner.run(main()) == (True, "none")


def test_the_exception_being_handled_is_seen_inside(runner):
    def look():
        before = sys.exception()
        bridge.await_(answer())
        return before, sys.exc_info()[1]

    async def main():
        try:
            raise LookupError
        except LookupError as exc:
            return exc, await bridge.run(look)

    exc, seen = runner.run(main())
    assert seen == (exc, exc)


def test_the_exception_being_handled_keeps_its_traceback(runner):
    def look():
        bridge.await_(answer())

    async def main():
        try:
            raise LookupError
        except LookupError as exc:
            before = traceback.extract_tb(exc.__traceback__)
            await bridge.run(look)
            return before, traceback.extract_tb(exc.__traceback__)

    before, after = runner.run(main())
    assert before == after


def test_a_new_exception_has_the_one_being_handled_as_its_context(runner):
    def fails():
        raise KeyError

    async def main():
        try:
            raise LookupError
        except LookupError:
            await bridge.run(fails)

    with pytest.raises(KeyError) as caught:
        runner.run(main())
    assert type(caught.value.__context__) is LookupError


def test_no_exception_is_being_handled_where_none_is(runner):
    async def main():
        try:
            raise LookupError
        except LookupError:
            pass
        return await bridge.run(sys.exception)

    assert runner.run(main()) is None


# --- exceptions that have a meaning of their own --------------------------------------------


def test_stop_iteration_becomes_a_runtime_error_as_in_a_coroutine(runner):
    def stops():
        raise StopIteration(5)

    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        runner.run(bridge.run(stops))
    assert type(caught.value.__cause__) is StopIteration


def test_stop_iteration_in_a_nested_run_is_a_runtime_error_as_well(runner):
    def outer():
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            bridge.await_(bridge.run(next, iter(())))

    runner.run(bridge.run(outer))


class Unusual(BaseException):
    pass


def test_a_base_exception_passes(runner):
    def raises():
        bridge.await_(answer())
        raise Unusual

    async def main():
        with pytest.raises(Unusual):
            await bridge.run(raises)

    runner.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_ends_the_process_leaves_the_loop(runner, error):
    def raises():
        bridge.await_(answer())
        raise error

    with pytest.raises(error):
        runner.run(bridge.run(raises))
