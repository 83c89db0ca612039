"""`bridge.Shield`: a cancellation that waits for the end of a block."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from onloop.bridge import Shield
from onloop.waiting import Waiter
from tests.loops import steps

LONG_S = 90


class Door:
    """Something to wait for, by the primitive that looks at shields."""

    def __init__(self):
        self.waiter = None

    def wait(self, timeout_s=None):
        self.waiter = Waiter()
        return self.waiter.wait(timeout_s)

    def open(self):
        self.waiter.set(None)


async def begun(function, *args):
    task = asyncio.create_task(bridge.run(function, *args))
    await steps()
    return task


async def is_cancelled(task):
    with pytest.raises(asyncio.CancelledError):
        await task
    return task.cancelled()


def test_a_cancellation_is_raised_at_the_end_of_the_block(runner):
    def function(door, log):
        with Shield(LONG_S):
            log.append(door.wait())
        log.append("after the block")

    async def main():
        door, log = Door(), []
        task = await begun(function, door, log)
        task.cancel()
        await steps()
        assert log == []
        door.open()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [True])


def test_without_a_shield_the_cancellation_is_raised_at_once(runner):
    async def main():
        task = await begun(Door().wait)
        task.cancel()
        return await is_cancelled(task)

    assert runner.run(main())


def test_a_block_without_a_cancellation_ends_as_it_would(runner):
    def function(door):
        with Shield(LONG_S):
            return door.wait()

    async def main():
        door = Door()
        task = await begun(function, door)
        door.open()
        return await task

    assert runner.run(main())


def test_the_cancellation_replaces_an_error_of_the_block_which_is_its_context(runner):
    def function(door):
        with Shield(LONG_S):
            door.wait()
            raise LookupError

    async def main():
        door = Door()
        task = await begun(function, door)
        task.cancel()
        await steps()
        door.open()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return type(caught.value.__context__)

    assert runner.run(main()) is LookupError


def test_an_error_without_a_cancellation_comes_out(runner):
    def function():
        with Shield(LONG_S):
            raise LookupError

    with pytest.raises(LookupError):
        runner.run(bridge.run(function))


def test_several_cancellations_are_raised_once(runner):
    def function(door):
        with Shield(LONG_S):
            door.wait()

    async def main():
        door = Door()
        task = await begun(function, door)
        for _ in range(3):
            task.cancel()
            await steps()
        door.open()
        return await is_cancelled(task), task.cancelling()

    assert runner.run(main()) == (True, 3)


def test_a_timeout_around_the_block_counts_its_cancellation_right(runner):
    def function(door, cancelled):
        with Shield(LONG_S):
            try:
                bridge.await_(asyncio.get_running_loop().create_future())
            except asyncio.CancelledError as exc:
                Shield.of_caller().absorb(exc)
            cancelled.set_result(None)
            door.wait()

    async def opens(door, cancelled):
        await cancelled
        await steps()
        door.open()

    async def main():
        door, cancelled = Door(), asyncio.get_running_loop().create_future()
        helper = asyncio.create_task(opens(door, cancelled))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await bridge.run(function, door, cancelled)
        await helper
        return asyncio.current_task().cancelling()

    assert runner.run(main()) == 0


# --- nested ---------------------------------------------------------------------------------


def test_a_nested_shield_leaves_the_cancellation_to_the_outermost(runner):
    def function(door, log):
        with Shield(LONG_S):
            with Shield(LONG_S):
                log.append(door.wait())
            log.append("after the inner block")
        log.append("after the outer block")

    async def main():
        door, log = Door(), []
        task = await begun(function, door, log)
        task.cancel()
        await steps()
        door.open()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [True, "after the inner block"])


def test_after_a_shield_waits_are_cancelled_at_once_again(runner):
    def function(door, log):
        with Shield(LONG_S):
            pass
        log.append(Shield.of_caller())
        door.wait()

    async def main():
        log = []
        task = await begun(function, Door(), log)
        task.cancel()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [None])


def test_a_shield_around_another_goes_on_when_the_inner_one_has_ended(runner):
    def function(door, log):
        with Shield(LONG_S) as outer:
            with Shield(LONG_S):
                pass
            log.append(Shield.of_caller() is outer)
            log.append(door.wait())

    async def main():
        door, log = Door(), []
        task = await begun(function, door, log)
        task.cancel()
        await steps()
        door.open()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [True, True])


# --- the bound ------------------------------------------------------------------------------


def test_a_wait_ends_unfinished_when_the_bound_is_over(runner):
    def function(log):
        with Shield(0.01):
            log.append(Door().wait())

    async def main():
        log = []
        task = await begun(function, log)
        task.cancel()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [False])


def test_the_bound_holds_for_the_waits_that_follow_as_well(runner):
    def function(door, log):
        with Shield(0.01):
            door.wait()
            log.append(Door().wait())
            with Shield(LONG_S):
                log.append(Door().wait())

    async def main():
        door, log = Door(), []
        task = await begun(function, door, log)
        task.cancel()
        await steps()
        door.open()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [False, False])


def test_the_bound_does_not_begin_before_the_cancellation(runner):
    def function(door):
        with Shield(0) as shield:
            return door.wait(), shield.deadline

    async def main():
        door = Door()
        task = await begun(function, door)
        door.open()
        return await task

    assert runner.run(main()) == (True, None)


def test_a_second_cancellation_does_not_put_the_bound_off(runner):
    def function(door, seen):
        with Shield(LONG_S) as shield:
            seen.append(shield)
            door.wait()

    async def main():
        door, seen, deadlines = Door(), [], []
        task = await begun(function, door, seen)
        for _ in range(2):
            task.cancel()
            await steps()
            deadlines.append(seen[0].deadline)
        door.open()
        return await is_cancelled(task), deadlines[0] == deadlines[1] is not None

    assert runner.run(main()) == (True, True)


def test_the_time_out_of_a_wait_holds_within_the_bound(runner):
    def function(log):
        with Shield(LONG_S):
            log.append(Door().wait(0.01))

    async def main():
        log = []
        task = await begun(function, log)
        task.cancel()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [False])


# --- where it has no effect -----------------------------------------------------------------


def test_outside_a_bridge_a_shield_does_nothing(runner):
    async def child(log):
        with Shield(LONG_S):
            log.append(Shield.of_caller())
            await asyncio.get_running_loop().create_future()

    async def main():
        log = []
        task = asyncio.create_task(child(log))
        await steps()
        task.cancel()
        return await is_cancelled(task), log

    assert runner.run(main()) == (True, [None])


def test_a_shield_outside_a_bridge_has_no_effect_in_a_bridge_inside(runner):
    async def child(door):
        with Shield(LONG_S):
            await bridge.run(door.wait)

    async def main():
        task = asyncio.create_task(child(Door()))
        await steps()
        task.cancel()
        return await is_cancelled(task)

    assert runner.run(main())


def test_a_shield_has_no_effect_in_a_task_that_is_made_under_it(runner):
    def function(door):
        with Shield(LONG_S):
            return asyncio.create_task(bridge.run(door.wait))

    async def main():
        task = await bridge.run(function, Door())
        await steps()
        task.cancel()
        return await is_cancelled(task)

    assert runner.run(main())


def test_without_a_loop_a_shield_does_nothing():
    with Shield(LONG_S):
        assert Shield.of_caller() is None
