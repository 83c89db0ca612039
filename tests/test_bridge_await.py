"""`bridge.await_`: what synchronous code may wait for, and where it may not."""

from __future__ import annotations

import asyncio
import traceback
import types
import warnings

import pytest
from greenlet import getcurrent

from onloop import bridge
from onloop.errors import BridgeRequired
from tests.loops import EAGER, steps

on_eager_loops = pytest.mark.parametrize("runner", EAGER, indirect=True)


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


# --- kinds of awaitables --------------------------------------------------------------------


@types.coroutine
def of_a_generator():
    yield
    return 42


class Awaitable:
    def __await__(self):
        return answer().__await__()


class AwaitableGenerator:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return 42


class BareIterator:
    """What Granian's `send` returns: an iterator, without `send` and `throw`."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration(42)


async def in_a_group():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer())
    return task.result()


AWAITABLES = {
    "coroutine": answer,
    "task": lambda: asyncio.ensure_future(answer()),
    "generator": of_a_generator,
    "object": Awaitable,
    "object-with-generator": AwaitableGenerator,
    "bare-iterator": BareIterator,
    "group": in_a_group,
    "shield": lambda: asyncio.shield(answer()),
    "wait_for": lambda: asyncio.wait_for(answer(), 20),
    "executor": lambda: asyncio.get_running_loop().run_in_executor(None, lambda: 42),
    "bridge": lambda: bridge.run(bridge.await_, answer()),
}


@pytest.mark.parametrize("make", AWAITABLES.values(), ids=AWAITABLES)
def test_an_awaitable_of_any_kind_can_be_awaited(runner, make):
    assert runner.run(bridge.run(lambda: bridge.await_(make()))) == 42


def test_gather_gives_the_results_in_order(runner):
    def function():
        return bridge.await_(asyncio.gather(answer(), Awaitable(), answer()))

    assert runner.run(bridge.run(function)) == [42, 42, 42]


def test_an_async_generator_can_be_read_by_anext(runner):
    async def numbers():
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    def function():
        source, seen = numbers(), []
        while (number := bridge.await_(anext(source, None))) is not None:
            seen.append(number)
        return seen

    assert runner.run(bridge.run(function)) == [0, 1, 2]


def test_an_async_iterator_that_ends_says_so(runner):
    async def nothing():
        return
        yield

    def function():
        with pytest.raises(StopAsyncIteration):
            bridge.await_(anext(nothing()))

    runner.run(bridge.run(function))


def test_a_future_that_is_done_does_not_suspend(runner):
    def function():
        future = asyncio.get_running_loop().create_future()
        future.set_result("value")
        return bridge.await_(future)

    async def main():
        others = []
        asyncio.get_running_loop().call_soon(others.append, "ran")
        return await bridge.run(function), list(others)

    assert runner.run(main()) == ("value", [])


def test_the_exception_of_an_awaitable_can_be_caught(runner):
    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    def function():
        with pytest.raises(LookupError):
            bridge.await_(fails())
        return bridge.await_(answer())

    assert runner.run(bridge.run(function)) == 42


@pytest.mark.parametrize("in_a", ["task", "thread"])
def test_the_traceback_of_an_awaitable_s_exception_reaches_to_where_it_was_raised(runner, in_a):
    def raises():
        raise KeyError("a key")

    async def a_task():
        raises()

    def frames():
        try:
            if in_a == "task":
                bridge.await_(asyncio.create_task(a_task()))
            else:
                bridge.await_(asyncio.to_thread(raises))
        except KeyError as exc:
            return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]

    names = runner.run(bridge.run(frames))
    assert (names[0], names[-1]) == ("frames", "raises")


def test_a_coroutine_run_in_a_bridge_may_call_code_that_waits(runner):
    def lazy():
        return bridge.await_(answer())

    async def view():
        await asyncio.sleep(0)
        return lazy()

    assert runner.run(bridge.run(bridge.await_, view())) == 42


# --- time-outs ------------------------------------------------------------------------------


def wait_for_ever():
    bridge.await_(asyncio.get_running_loop().create_future())


def test_a_timeout_around_a_bridge_ends_its_wait(runner):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await bridge.run(wait_for_ever)
        return asyncio.current_task().cancelling()

    assert runner.run(main()) == 0


def test_a_timeout_inside_a_bridge_ends_the_inner_wait_alone(runner):
    async def inner():
        async with asyncio.timeout(0):
            await asyncio.get_running_loop().create_future()

    def function():
        with pytest.raises(TimeoutError):
            bridge.await_(inner())
        return bridge.await_(answer()), asyncio.current_task().cancelling()

    assert runner.run(bridge.run(function)) == (42, 0)


def test_wait_for_around_a_bridge_ends_its_wait(runner):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bridge.run(wait_for_ever), 0.001)

    runner.run(main())


def test_wait_for_inside_a_bridge_ends_the_inner_wait_alone(runner):
    def function():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            bridge.await_(asyncio.wait_for(future, 0.001))
        return bridge.await_(answer())

    assert runner.run(bridge.run(function)) == 42


# --- where there is no bridge ---------------------------------------------------------------


@pytest.mark.parametrize("make", [answer, AwaitableGenerator], ids=["coroutine", "object"])
def test_waiting_outside_a_bridge_is_refused_with_the_cure(runner, make):
    async def main():
        with pytest.raises(BridgeRequired, match=r"await onloop\.bridge\.run\(function"):
            bridge.await_(make())

    runner.run(main())


def test_waiting_without_a_loop_is_refused_with_the_cure():
    with pytest.raises(BridgeRequired, match=r"onloop\.async_to_sync\(function\)"):
        bridge.await_(answer())


def test_a_coroutine_that_is_refused_is_closed(runner):
    async def main():
        with pytest.raises(BridgeRequired):
            bridge.await_(answer())

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runner.run(main())
    assert not seen


def test_a_bridge_of_another_task_does_not_count(runner):
    """A callback that the loop runs while a bridge waits is in no bridge."""
    seen = []

    def callback():
        seen.append(bridge.active())

    def function():
        asyncio.get_running_loop().call_soon(callback)
        bridge.await_(asyncio.sleep(0))
        bridge.await_(asyncio.sleep(0))
        return bridge.active()

    assert runner.run(bridge.run(function))
    assert seen == [False]


# --- eager tasks ----------------------------------------------------------------------------
# The first step of an eager task runs inside the greenlet of whoever creates it.


@on_eager_loops
def test_in_the_first_step_of_an_eager_child_the_parents_bridge_is_not_active(runner):
    async def child():
        return bridge.active(), bridge.current(), type(getcurrent())

    def parent():
        return bridge.await_(asyncio.create_task(child()))

    assert runner.run(bridge.run(parent)) == (False, None, bridge.Bridge)


@on_eager_loops
def test_in_the_first_step_of_an_eager_child_waiting_is_refused(runner):
    async def child():
        bridge.await_(answer())

    def parent():
        with pytest.raises(BridgeRequired):
            bridge.await_(asyncio.create_task(child()))
        return bridge.active()

    assert runner.run(bridge.run(parent))


@on_eager_loops
def test_an_eager_child_may_open_a_bridge_of_its_own(runner):
    async def child(door):
        return await bridge.run(bridge.await_, door)

    def parent():
        door = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(child(door))
        bridge.await_(steps())
        door.set_result("open")
        return bridge.await_(task)

    assert runner.run(bridge.run(parent)) == "open"


@on_eager_loops
def test_an_eager_child_outlives_the_bridge_that_it_began_in(runner):
    def function(door):
        return bridge.await_(door), bridge.active()

    def parent(door):
        return asyncio.create_task(bridge.run(function, door))

    async def main():
        door = asyncio.get_running_loop().create_future()
        task = await bridge.run(parent, door)
        await steps()
        door.set_result("open")
        return await task

    assert runner.run(main()) == ("open", True)


# --- SQLAlchemy's protocol ------------------------------------------------------------------


def await_only(awaitable):
    """What `sqlalchemy.util.await_only` does in a greenlet of a class that it accepts."""
    here = getcurrent()
    assert here.__sqlalchemy_greenlet_provider__
    return here.parent.switch(awaitable)


KINDS_FOR_SQLALCHEMY = {
    name: AWAITABLES[name] for name in ("coroutine", "task", "object", "shield", "executor")
}


@pytest.mark.parametrize("make", KINDS_FOR_SQLALCHEMY.values(), ids=KINDS_FOR_SQLALCHEMY)
def test_sqlalchemy_can_wait_in_a_bridge(runner, make):
    assert runner.run(bridge.run(lambda: await_only(make()))) == 42


def test_sqlalchemy_gets_the_exception_of_what_it_waits_for(runner):
    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    def function():
        with pytest.raises(LookupError):
            await_only(fails())
        return await_only(answer())

    assert runner.run(bridge.run(function)) == 42


def test_sqlalchemy_gets_the_cancellation_of_the_task(runner):
    def function(seen):
        try:
            await_only(asyncio.get_running_loop().create_future())
        except asyncio.CancelledError as exc:
            seen.append(exc)
            raise

    async def main():
        seen = []
        task = asyncio.create_task(bridge.run(function, seen))
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(seen)

    assert runner.run(main()) == 1
