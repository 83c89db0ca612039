"""`cancel_sweep`: which waits it cancels at, and what it finds."""

import asyncio
import contextlib
import gc

import pytest

from onloop import bridge
from onloop.testing import (
    CancelSwallowed,
    CancelUnbalanced,
    Hung,
    Outcome,
    SweepFailed,
    cancel_sweep,
)


async def step() -> None:
    """One wait, for something that is there an iteration of the loop later."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(answer, future)
    await future


def answer(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def steps_in_a_bridge(count: int) -> None:
    for _ in range(count):
        bridge.await_(step())


# --- what is a wait ---------------------------------------------------------------------------


async def test_bare_yields_futures_and_bridges_are_waits_alike():
    async def scenario():
        await asyncio.sleep(0)
        await step()
        await bridge.run(steps_in_a_bridge, 2)

    assert (await cancel_sweep(scenario)).waits == 4


async def test_what_is_there_already_is_no_wait():
    async def scenario():
        done = asyncio.get_running_loop().create_future()
        done.set_result(1)
        return await done

    assert (await cancel_sweep(scenario)).waits == 0


async def test_waits_of_child_tasks_are_not_those_of_the_scenario():
    async def child():
        await step()
        await step()

    async def scenario():
        await asyncio.create_task(child())

    assert (await cancel_sweep(scenario, moments=["waiting"])).waits == 1


async def test_each_wait_is_cancelled_once_and_twice_and_at_both_moments():
    async def scenario():
        try:
            await step()
        finally:
            await step()

    sweep = await cancel_sweep(scenario)
    seen = [(o.n, o.moment, o.cancelled) for o in sweep.outcomes if o.cancelled]
    assert seen == [
        (0, "waiting", 1),
        (0, "waiting", 2),
        (0, "answered", 1),
        (0, "answered", 2),
        (1, "waiting", 1),
        (1, "waiting", 1),  # there is no next wait that could be cancelled
        (1, "answered", 1),
        (1, "answered", 1),
    ]
    assert str(sweep) == "2 waits, 13 runs, 2 of them cancelled twice"


async def test_answered_means_that_the_answer_was_there():
    futures = []

    async def scenario():
        futures.append(asyncio.get_running_loop().create_future())
        asyncio.get_running_loop().call_soon(answer, futures[-1])
        await futures[-1]

    answers = []
    await cancel_sweep(
        scenario,
        times=[1],
        check=lambda o: answers.append((o.moment, o.cancelled, futures[-1].cancelled())),
    )
    assert ("waiting", 1, True) in answers
    assert ("answered", 1, False) in answers


async def test_the_outcome_names_the_wait_through_a_bridge():
    def work():
        bridge.await_(step())

    async def scenario():
        await bridge.run(work)

    sweep = await cancel_sweep(scenario)
    where = next(o.where for o in sweep.outcomes if o.cancelled)
    for name in ("scenario", "run", "work", "await_", "step"):
        assert name in where
    assert where.innermost.startswith("test_sweep.py:")


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12")
async def test_eager_tasks_are_swept_from_their_first_step():
    async def scenario():
        await step()

    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coro, **kwargs: asyncio.Task(
            coro, loop=loop, **(kwargs | {"eager_start": True})
        )
    )
    sweep = await cancel_sweep(scenario)
    loop.set_task_factory(None)
    assert (sweep.waits, sweep.runs) == (1, 9)


async def test_what_the_cancelled_frames_held_is_free_when_the_check_looks():
    class Thing:
        pass

    async def scenario():
        thing = Thing()
        await step()
        return thing is None

    def check(outcome):
        if outcome.cancelled:
            assert not any(type(thing) is Thing for thing in gc.get_objects())

    await cancel_sweep(scenario, check=check)


# --- what it finds ----------------------------------------------------------------------------


async def test_a_swallowed_cancel_is_found():
    async def scenario():
        with contextlib.suppress(asyncio.CancelledError):
            await step()
        return "done"

    with pytest.raises(CancelSwallowed, match=r"wait 0 .* returned 'done'") as caught:
        await cancel_sweep(scenario)
    assert "in scenario" in str(caught.value)


async def test_a_swallowed_second_cancel_is_found():
    async def scenario():
        try:
            await step()
        except asyncio.CancelledError:
            try:
                await step()  # cleans up
            except asyncio.CancelledError:
                return
            raise

    assert await cancel_sweep(scenario, times=[1])
    with pytest.raises(CancelSwallowed, match="2 times"):
        await cancel_sweep(scenario)


async def test_an_error_in_place_of_the_cancel_is_found():
    async def scenario():
        try:
            await step()
        except asyncio.CancelledError:
            raise ConnectionError("gone") from None

    with pytest.raises(CancelSwallowed, match=r"ConnectionError\('gone'\) in place"):
        await cancel_sweep(scenario)
    assert await cancel_sweep(scenario, may_raise=(ConnectionError,))


async def test_a_cancel_lost_after_the_answer_is_found():
    async def scenario():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                raise
            return future.result()  # "it is there after all"

    assert await cancel_sweep(scenario, moments=["waiting"])
    with pytest.raises(CancelSwallowed, match="answered"):
        await cancel_sweep(scenario)


async def test_uncancel_without_a_cancel_of_its_own_is_found():
    async def scenario():
        try:
            await step()
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            raise

    with pytest.raises(CancelUnbalanced, match=r"left task.cancelling\(\) at 0"):
        await cancel_sweep(scenario)


async def test_a_cancel_of_itself_that_is_never_taken_back_is_found():
    async def scenario():
        asyncio.current_task().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await step()

    with pytest.raises(CancelUnbalanced, match="at 1 where 0"):
        await cancel_sweep(scenario)


async def test_a_time_out_that_balances_its_own_cancel_is_not_complained_about():
    async def scenario():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(10)
        await step()

    assert (await cancel_sweep(scenario)).waits >= 2


async def test_a_run_that_hangs_is_ended_and_shown():
    async def scenario():
        try:
            await step()
        except asyncio.CancelledError:
            await asyncio.get_running_loop().create_future()  # nobody will set it

    with pytest.raises(Hung, match=r"did not end within 0\.1 s") as caught:
        await cancel_sweep(scenario, timeout_s=0.1)
    assert "create_future()  # nobody will set it" in str(caught.value)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_the_check_finds_says_which_run_it_was():
    slots = []

    async def scenario():
        slots.append(1)
        await step()
        slots.pop()

    def check(outcome: Outcome):
        assert not slots, "a slot is lost"

    with pytest.raises(AssertionError, match="a slot is lost") as caught:
        await cancel_sweep(scenario, check=check)
    assert "cancelled at wait 0 (waiting)" in caught.value.__notes__[0]
    assert "in scenario" in caught.value.__notes__[0]


async def test_an_async_check_and_a_preparation_are_awaited_for_every_run():
    calls = []

    async def prepare():
        await step()
        calls.append("prepare")

    async def check(outcome):
        await step()
        calls.append("check")

    sweep = await cancel_sweep(step, prepare=prepare, check=check)
    assert calls == ["prepare", "check"] * sweep.runs


async def test_a_scenario_that_fails_by_itself_is_not_swept():
    async def scenario():
        raise LookupError("of its own")

    with pytest.raises(LookupError, match="of its own") as caught:
        await cancel_sweep(scenario)
    assert caught.value.__notes__ == ["The scenario failed without having been cancelled."]


async def test_a_scenario_that_may_finish_may_only_finish_where_it_is_said():
    async def scenario():
        await step()
        with contextlib.suppress(asyncio.CancelledError):
            await step()

    assert await cancel_sweep(scenario, may_finish=lambda outcome: outcome.n == 1)
    with pytest.raises(CancelSwallowed):
        await cancel_sweep(scenario, may_finish=lambda outcome: outcome.n == 0)


async def test_endless_scenarios_are_refused():
    async def scenario():
        for _ in range(20):
            await step()

    with pytest.raises(SweepFailed, match="more than 5 waits"):
        await cancel_sweep(scenario, limit=5)


async def test_a_sweep_that_is_cancelled_leaves_no_run_behind():
    started = asyncio.Event()

    async def scenario():
        started.set()
        await asyncio.get_running_loop().create_future()

    sweep = asyncio.create_task(cancel_sweep(scenario))
    await started.wait()
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
