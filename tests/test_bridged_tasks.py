"""How a bridged task ends, and what it looks like to whoever asks."""

from __future__ import annotations

import asyncio
import gc

import pytest

from onloop import bridge, taskfactory
from onloop.taskfactory import BridgedCoroutine
from tests.loops import steps
from tests.test_task_factory import lazy, touches


def test_the_exception_of_a_bridged_task_is_its_own(bridged):
    async def fails():
        raise LookupError(lazy())

    async def main():
        with pytest.raises(LookupError, match="42"):
            await asyncio.create_task(fails())

    bridged(main())


def test_a_bridged_task_can_be_cancelled_where_synchronous_code_waits(bridged):
    async def child(log):
        try:
            bridge.await_(asyncio.get_running_loop().create_future())
        finally:
            lazy()
            log.append("cleaned up")

    async def main():
        log = []
        task = asyncio.create_task(child(log))
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return log, task.cancelled()

    assert bridged(main()) == (["cleaned up"], True)


def test_a_bridged_task_that_is_cancelled_before_its_first_step_warns_of_nothing(bare_loop):
    log = []

    async def child():
        log.append("ran")

    async def main():
        taskfactory.bridge_tasks.set(True)
        task = asyncio.create_task(child())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return type(task.get_coro())

    taskfactory.install_task_factory(bare_loop)
    kind = bare_loop.run_until_complete(main())
    gc.collect()  # where a coroutine that was never awaited would warn
    assert (kind, log) == (BridgedCoroutine, [])


def test_a_bridged_coroutine_that_is_closed_before_its_first_step_warns_of_nothing():
    BridgedCoroutine(touches()).close()
    gc.collect()


def test_a_bridged_coroutine_that_is_closed_at_a_wait_ends(runner):
    log = []

    async def child():
        try:
            lazy()
        except GeneratorExit:
            log.append("closed")
            raise

    async def main():
        coro = BridgedCoroutine(child())
        coro.send(None)
        coro.close()

    runner.run(main())
    assert log == ["closed"]


# --- what a bridged task looks like ---------------------------------------------------------


async def look_at(coro_function, **kwargs):
    """A task at its wait, and what opens the door that it waits for."""
    door = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(coro_function(door), **kwargs)
    await steps()
    return task, lambda: door.set_result(None)


async def waits(door):
    bridge.await_(door)


def test_a_bridged_task_keeps_its_name(bridged):
    async def main():
        task, open_door = await look_at(waits, name="a name")
        open_door()
        await task
        return task.get_name()

    assert bridged(main()) == "a name"


def test_the_repr_of_a_bridged_task_names_the_coroutine(bridged):
    async def main():
        task, open_door = await look_at(waits)
        seen = repr(task)
        open_door()
        await task
        return seen, repr(task)

    waiting, done = bridged(main())
    assert "coro=<waits() " in waiting
    assert "coro=<waits() done" in done


def test_the_coroutine_of_a_bridged_task_has_the_names_of_what_it_wraps(bridged):
    async def main():
        task, open_door = await look_at(waits)
        open_door()
        await task
        coro = task.get_coro()
        return coro.__name__, coro.__qualname__, coro.cr_code

    assert bridged(main()) == ("waits", "waits", waits.__code__)


def test_the_stack_of_a_bridged_task_shows_the_coroutine(bridged):
    async def main():
        task, open_door = await look_at(waits)
        codes = [frame.f_code for frame in task.get_stack()]
        open_door()
        await task
        return codes

    assert waits.__code__ in bridged(main())


def test_a_bridged_coroutine_has_no_names_of_other_kinds():
    coro = BridgedCoroutine(touches())
    with pytest.raises(AttributeError):
        coro.gi_frame  # noqa: B018
    coro.close()
