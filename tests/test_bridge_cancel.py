"""Cancelling a task whose synchronous code waits in a bridge."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from tests.loops import steps


def wait_for_ever():
    bridge.await_(asyncio.get_running_loop().create_future())


async def begun(function, *args):
    """A task that runs `function` in a bridge and has come to its wait."""
    task = asyncio.create_task(bridge.run(function, *args))
    await steps()
    return task


async def cancel(task, *message):
    task.cancel(*message)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


def test_a_cancellation_is_raised_at_the_wait(runner):
    def function(log):
        try:
            wait_for_ever()
        except asyncio.CancelledError as exc:
            log.append(exc.args)
            raise

    async def main():
        log = []
        await cancel(await begun(function, log), "because")
        return log

    assert runner.run(main()) == [("because",)]


def test_a_cancelled_task_is_cancelled(runner):
    async def main():
        task = await begun(wait_for_ever)
        await cancel(task)
        return task.cancelled()

    assert runner.run(main())


def test_cleaning_up_may_wait(runner):
    def function(log):
        try:
            wait_for_ever()
        finally:
            bridge.await_(steps())
            log.append("cleaned up")

    async def main():
        log = []
        await cancel(await begun(function, log))
        return log

    assert runner.run(main()) == ["cleaned up"]


def test_cleaning_up_in_a_coroutine_inside_the_bridge_may_wait(runner):
    async def inner(log):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await steps()
            log.append("inner")

    def function(log):
        try:
            bridge.await_(inner(log))
        finally:
            bridge.await_(steps())
            log.append("outer")

    async def main():
        log = []
        await cancel(await begun(function, log))
        return log

    assert runner.run(main()) == ["inner", "outer"]


def test_code_that_swallows_a_cancellation_goes_on(runner):
    def function():
        with pytest.raises(asyncio.CancelledError):
            wait_for_ever()
        bridge.await_(steps())
        return "went on"

    async def main():
        task = await begun(function)
        task.cancel()
        return await task, task.cancelling()

    assert runner.run(main()) == ("went on", 1)


def test_a_second_cancellation_interrupts_the_cleaning_up(runner):
    def function(log):
        try:
            wait_for_ever()
        finally:
            try:
                wait_for_ever()
            finally:
                log.append("interrupted")

    async def main():
        log = []
        task = await begun(function, log)
        task.cancel()
        await steps()
        assert log == []
        await cancel(task)
        return log

    assert runner.run(main()) == ["interrupted"]


def test_a_cancellation_between_two_waits_is_raised_at_the_next_one(runner):
    def function(log):
        asyncio.current_task().cancel()
        log.append("still here")
        bridge.await_(asyncio.sleep(0))
        log.append("not here")

    async def main():
        log = []
        with pytest.raises(asyncio.CancelledError):
            await bridge.run(function, log)
        asyncio.current_task().uncancel()
        return log

    assert runner.run(main()) == ["still here"]


def test_a_task_that_is_cancelled_before_its_first_step_runs_nothing(bare_loop):
    async def main():
        log = []
        await cancel(asyncio.create_task(bridge.run(log.append, "ran")))
        return log

    assert bare_loop.run_until_complete(main()) == []


def test_a_cancelled_future_is_raised_without_the_task_being_cancelled(runner):
    def function(door):
        with pytest.raises(asyncio.CancelledError):
            bridge.await_(door)
        return asyncio.current_task().cancelling()

    async def main():
        door = asyncio.get_running_loop().create_future()
        task = await begun(function, door)
        door.cancel()
        return await task

    assert runner.run(main()) == 0


def test_what_a_shield_of_asyncio_protects_goes_on(runner):
    async def protected(door, log):
        await door
        log.append("done")

    async def main():
        log, door = [], asyncio.get_running_loop().create_future()
        inner = asyncio.ensure_future(protected(door, log))
        await cancel(await begun(lambda: bridge.await_(asyncio.shield(inner))))
        door.set_result(None)
        await inner
        return log

    assert runner.run(main()) == ["done"]


def test_a_timeout_within_a_cancelled_task_is_no_timeout(runner):
    """`asyncio.timeout` tells its own cancellation from somebody else's by counting."""

    async def inner():
        async with asyncio.timeout(90):
            await asyncio.get_running_loop().create_future()

    async def main():
        await cancel(await begun(lambda: bridge.await_(inner())))

    runner.run(main())


def test_a_task_group_cancels_a_bridge_when_another_task_fails(runner):
    async def fails(door):
        await door
        raise LookupError

    async def main():
        door, log = asyncio.get_running_loop().create_future(), []

        def function():
            try:
                bridge.await_(asyncio.get_running_loop().create_future())
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(bridge.run(function))
                group.create_task(fails(door))
                await steps()
                door.set_result(None)
        return log, [type(exc) for exc in caught.value.exceptions]

    assert runner.run(main()) == (["cancelled"], [LookupError])


def test_the_end_of_the_runner_cancels_what_waits(runner):
    log = []

    def function():
        try:
            wait_for_ever()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main():
        kept.append(await begun(function))

    kept = []
    runner.run(main())
    runner.close()
    assert log == ["cancelled"]
