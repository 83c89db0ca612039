"""`sync_to_async` and `async_to_sync`, ours and asgiref's, in a bridge and out of one."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import asgiref.sync
import pytest

import onloop
from onloop import bridge
from tests.loops import steps
from tests.test_bridge import colour


def here():
    """The thread and the task of the caller."""
    bridge.await_(asyncio.sleep(0))
    return threading.get_ident(), asyncio.current_task()


async def ahere():
    await asyncio.sleep(0)
    return threading.get_ident(), asyncio.current_task()


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, number):
        bridge.await_(asyncio.sleep(0))
        self.count += number
        return self.count

    aadd = onloop.sync_to_async(add)

    async def read(self):
        await asyncio.sleep(0)
        return self.count

    sync_read = onloop.async_to_sync(read)


# --- sync_to_async --------------------------------------------------------------------------


def test_an_adapted_function_runs_in_a_bridge_of_the_callers_task(runner):
    async def main():
        return await onloop.sync_to_async(here)() == await ahere()

    assert runner.run(main())


def test_an_adapted_function_is_called_directly_inside_a_bridge(runner):
    async def inner():
        return await onloop.sync_to_async(bridge.current)()

    def outer():
        return bridge.await_(inner()) is bridge.current()

    assert runner.run(bridge.run(outer))


def test_an_adapted_function_takes_arguments(runner):
    adapted = onloop.sync_to_async(lambda *args, **kwargs: (args, kwargs))
    assert runner.run(adapted(1, func=2)) == ((1,), {"func": 2})


def test_sync_to_async_decorates(runner):
    @onloop.sync_to_async
    def decorated():
        return bridge.active()

    assert runner.run(decorated())


def test_sync_to_async_decorates_with_options(runner):
    @onloop.sync_to_async(thread_sensitive=False)
    def decorated():
        return bridge.active()

    assert runner.run(decorated())


def test_an_adapted_method_of_a_class_is_bound(runner):
    counter = Counter()
    assert runner.run(counter.aadd(2)) == 2
    assert counter.count == 2


def test_an_adapted_bound_method_names_its_object():
    counter = Counter()
    assert onloop.sync_to_async(counter.add).__self__ is counter


def test_an_adapted_function_has_the_names_of_what_it_wraps():
    adapted = onloop.sync_to_async(here)
    assert (adapted.__name__, adapted.__doc__) == ("here", here.__doc__)
    assert adapted.__wrapped__ is here


@pytest.mark.parametrize(
    "is_async", [inspect.iscoroutinefunction, asgiref.sync.iscoroutinefunction]
)
def test_an_adapted_function_is_known_to_be_async(is_async):
    assert is_async(onloop.sync_to_async(here))


def test_a_partial_function_can_be_adapted(runner):
    assert runner.run(onloop.sync_to_async(functools.partial(max, 3))(5)) == 5


class AsyncCallable:
    async def __call__(self):
        pass


@pytest.mark.parametrize("wrong", [ahere, AsyncCallable(), "text"], ids=["def", "call", "str"])
def test_what_is_no_sync_function_is_refused(wrong):
    with pytest.raises(TypeError, match="can only be applied to sync functions"):
        onloop.sync_to_async(wrong)


def test_an_executor_is_refused_with_the_cure():
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(TypeError, match=r"Use asgiref\.sync\.sync_to_async"),
    ):
        onloop.sync_to_async(here, thread_sensitive=False, executor=pool)


def test_an_adapted_function_runs_in_the_context_that_it_is_given(runner):
    context = contextvars.copy_context()
    context.run(colour.set, "the context's")

    def paint():
        before = colour.get()
        bridge.await_(asyncio.sleep(0))
        colour.set("painted")
        return before

    async def main():
        return await onloop.sync_to_async(paint, context=context)(), colour.get()

    assert runner.run(main()) == ("the context's", "none")
    assert context[colour] == "painted"


def test_without_a_context_values_cross_both_ways(runner):
    async def main():
        colour.set("mine")
        seen = await onloop.sync_to_async(colour.get)()
        await onloop.sync_to_async(colour.set)("theirs")
        return seen, colour.get()

    assert runner.run(main()) == ("mine", "theirs")


# --- async_to_sync --------------------------------------------------------------------------

both = pytest.mark.parametrize(
    "async_to_sync", [onloop.async_to_sync, asgiref.sync.async_to_sync], ids=["ours", "asgiref"]
)


@both
def test_inside_a_bridge_the_async_function_is_awaited_in_the_same_task(runner, async_to_sync):
    def function():
        return async_to_sync(ahere)() == here()

    assert runner.run(bridge.run(function))


@both
def test_inside_a_bridge_the_loop_goes_on_meanwhile(runner, async_to_sync):
    async def waits(door):
        return await door

    async def main():
        door = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(bridge.run(async_to_sync(waits), door))
        await steps()
        door.set_result("open")
        return await task

    assert runner.run(main()) == "open"


@both
def test_inside_a_bridge_exceptions_pass(runner, async_to_sync):
    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        runner.run(bridge.run(async_to_sync(fails)))


@both
def test_in_a_thread_without_a_loop_the_async_function_gets_a_loop(async_to_sync):
    async def own_loop():
        return asyncio.get_running_loop().is_running()

    assert async_to_sync(own_loop)()


@both
def test_on_a_running_loop_outside_a_bridge_it_is_refused(runner, async_to_sync):
    async def main():
        with pytest.raises(RuntimeError, match="just await the async function directly"):
            async_to_sync(ahere)()

    runner.run(main())


@both
def test_a_new_loop_that_is_forced_is_refused_inside_a_bridge(runner, async_to_sync):
    def function():
        with pytest.raises(RuntimeError, match="just await the async function directly"):
            async_to_sync(ahere, force_new_loop=True)()

    runner.run(bridge.run(function))


@both
def test_async_to_sync_decorates(runner, async_to_sync):
    @async_to_sync
    async def decorated():
        return await ahere() == here()

    assert runner.run(bridge.run(decorated))


@both
def test_async_to_sync_decorates_with_options(runner, async_to_sync):
    @async_to_sync(force_new_loop=False)
    async def decorated():
        return await ahere() == here()

    assert runner.run(bridge.run(decorated))


def test_an_async_method_of_a_class_is_bound(runner):
    counter = Counter()
    counter.count = 7
    assert runner.run(bridge.run(counter.sync_read)) == 7


def test_an_adapted_async_function_has_the_names_of_what_it_wraps():
    adapted = onloop.async_to_sync(ahere)
    assert (adapted.__name__, adapted.__wrapped__) == ("ahere", ahere)


def test_asgirefs_async_to_sync_in_a_thread_comes_back_to_the_loop(runner):
    async def main():
        def in_thread():
            return threading.get_ident(), asgiref.sync.async_to_sync(ahere)()[0]

        thread, inner = await asgiref.sync.sync_to_async(in_thread)()
        return thread != threading.get_ident(), inner == threading.get_ident()

    assert runner.run(main()) == (True, True)


# --- both together --------------------------------------------------------------------------


def test_asgirefs_sync_to_async_keeps_its_thread_inside_a_bridge(runner):
    def function():
        thread = bridge.await_(asgiref.sync.sync_to_async(threading.get_ident)())
        return thread != threading.get_ident()

    assert runner.run(bridge.run(function))


@both
def test_a_chain_of_adapters_stays_in_one_task_and_one_thread(runner, async_to_sync):
    async def down(depth):
        if depth == 0:
            return [await ahere()]
        return [*await onloop.sync_to_async(across)(depth), await ahere()]

    def across(depth):
        return [*async_to_sync(down)(depth - 1), here()]

    async def main():
        return await down(5), await ahere()

    seen, mine = runner.run(main())
    assert len(seen) == 11
    assert set(seen) == {mine}
