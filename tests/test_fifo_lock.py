"""`FifoLock`: bridges and threads get it in the order in which they came."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onloop import bridge
from onloop.bridge import Shield
from onloop.errors import BridgeRequired
from onloop.waiting import FifoLock, pause
from tests.loops import LOOPS, steps, until
from tests.test_waiting import in_thread, spin_until

LONG_S = 90


async def queued(lock, function, *args):
    """A task that runs `function` in a bridge and stands in the queue of `lock`."""
    length = len(lock._waiting)
    task = asyncio.create_task(bridge.run(function, *args))
    await until(lambda: len(lock._waiting) > length)
    return task


def enter(lock, log, name):
    assert lock.acquire(LONG_S)
    log.append(name)
    lock.release()


def is_free(lock):
    """Nobody holds it, nobody waits: it has not been lost."""
    return not lock.locked and not lock._waiting


@pytest.fixture
def held():
    lock = FifoLock()
    assert lock.acquire(0)
    return lock


# --- order ----------------------------------------------------------------------------------


def test_a_free_lock_is_taken_at_once_even_on_a_loops_thread_outside_a_bridge(runner):
    async def main():
        return FifoLock().acquire(0)

    assert runner.run(main())


def test_waiting_for_it_outside_a_bridge_is_refused_and_leaves_no_trace(runner, held):
    async def main():
        with pytest.raises(BridgeRequired):
            held.acquire(LONG_S)

    runner.run(main())
    held.release()
    assert is_free(held)


def test_bridges_get_it_in_the_order_in_which_they_came(runner, held):
    async def main():
        log = []
        tasks = [await queued(held, enter, held, log, number) for number in range(5)]
        held.release()
        await asyncio.gather(*tasks)
        return log

    assert runner.run(main()) == [0, 1, 2, 3, 4]
    assert is_free(held)


def test_threads_get_it_in_the_order_in_which_they_came(held):
    log, joins = [], []
    for number in range(5):
        joins.append(in_thread(enter, held, log, number))
        spin_until(lambda: len(held._waiting) == len(joins))
    held.release()
    for join in joins:
        join()
    assert log == [0, 1, 2, 3, 4]


def test_bridges_and_threads_get_it_in_the_order_in_which_they_came(runner, held):
    async def main():
        log, tasks, joins = [], [], []
        for number in range(6):
            if number % 2:
                tasks.append(await queued(held, enter, held, log, number))
            else:
                joins.append(in_thread(enter, held, log, number))
                await until(lambda: len(held._waiting) == len(tasks) + len(joins))
        held.release()
        await asyncio.gather(*tasks)
        for join in joins:
            join()
        return log

    assert runner.run(main()) == [0, 1, 2, 3, 4, 5]
    assert is_free(held)


def test_a_newcomer_does_not_overtake_one_that_was_handed_the_lock(runner, held):
    async def main():
        log = []
        first = await queued(held, enter, held, log, "first")
        held.release()  # handed over; the first has not run yet
        newcomer = asyncio.create_task(bridge.run(enter, held, log, "newcomer"))
        await asyncio.gather(first, newcomer)
        return log

    assert runner.run(main()) == ["first", "newcomer"]


# --- giving up ------------------------------------------------------------------------------


def test_a_bridge_that_waits_too_long_does_not_get_it_and_leaves_no_trace(runner, held):
    assert runner.run(bridge.run(held.acquire, 0.001)) is False
    held.release()
    assert is_free(held)


def test_a_thread_that_waits_too_long_does_not_get_it_and_leaves_no_trace(held):
    assert held.acquire(0.001) is False
    held.release()
    assert is_free(held)


def test_a_bridge_that_is_cancelled_leaves_no_trace(runner, held):
    async def main():
        task = await queued(held, held.acquire, LONG_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(main())
    held.release()
    assert is_free(held)


async def set_then_cancel(lock, task):
    lock.release()
    task.cancel()


async def cancel_then_set(lock, task):
    task.cancel()
    lock.release()


@pytest.mark.parametrize("both", [set_then_cancel, cancel_then_set])
def test_a_lock_handed_to_one_that_is_cancelled_meanwhile_goes_to_the_next(runner, held, both):
    async def main():
        log = []
        cancelled = await queued(held, held.acquire, LONG_S)
        following = await queued(held, enter, held, log, "next")
        await both(held, cancelled)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await following
        return log

    assert runner.run(main()) == ["next"]
    assert is_free(held)


def test_a_lock_handed_to_one_that_is_closed_meanwhile_is_free(runner, held):
    async def main():
        coro = bridge.run(held.acquire, LONG_S)
        coro.send(None)
        held.release()
        coro.close()

    runner.run(main())
    assert is_free(held)


def test_a_shielded_bridge_gets_the_lock_before_its_cancellation_is_raised(runner, held):
    def function(log):
        with Shield(LONG_S):
            enter(held, log, "shielded")

    async def main():
        log = []
        task = await queued(held, function, log)
        task.cancel()
        await steps()
        held.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        return log

    assert runner.run(main()) == ["shielded"]
    assert is_free(held)


# --- loops that have ended ------------------------------------------------------------------


@pytest.fixture
def left_behind(bare_loop, held):
    """A task in the queue of `held` whose loop was closed under it."""
    task = bare_loop.create_task(bridge.run(held.acquire, LONG_S))
    bare_loop.run_until_complete(steps())
    assert len(held._waiting) == 1
    task._log_destroy_pending = False
    bare_loop.close()
    yield task
    task.get_coro().close()


def test_a_lock_is_not_handed_to_a_loop_that_has_ended(held, left_behind):
    held.release()
    assert is_free(held)


def test_the_next_in_the_queue_gets_what_a_loop_that_has_ended_cannot_take(held, left_behind):
    log = []
    join = in_thread(enter, held, log, "next")
    spin_until(lambda: len(held._waiting) == 2)
    held.release()
    join()
    assert log == ["next"]
    assert is_free(held)


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_a_task_of_a_loop_that_has_ended_can_be_closed(held, left_behind, before):
    """Before the lock is handed on or after it."""
    if before:
        left_behind.get_coro().close()
    held.release()
    left_behind.get_coro().close()
    assert is_free(held)


# --- many at once ---------------------------------------------------------------------------


class Watched:
    """A lock that notices when two hold it."""

    def __init__(self):
        self.lock = FifoLock()
        self.holder = None
        self.entered = 0

    def enter(self, name, timeout_s, waits):
        if not self.lock.acquire(timeout_s):
            return
        try:
            assert self.holder is None, "held twice"
            self.holder = name
            self.entered += 1
            for _ in range(waits):
                pause(0.0001)
                assert self.holder == name, "held twice"
        finally:
            self.holder = None
            self.lock.release()


visits = st.lists(
    st.fixed_dictionaries(
        {
            "thread": st.booleans(),
            "timeout_s": st.sampled_from([0, 0.0002, 0.001, LONG_S]),
            "waits": st.integers(0, 2),
            "cancel_after": st.none() | st.integers(0, 6),
        }
    ),
    min_size=2,
    max_size=16,
)


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(visits=visits)
def test_it_is_never_held_twice_and_never_lost(new_loop, visits):
    """Bridges and threads come at once, wait with or without patience, and are cancelled."""

    async def cancel_later(task, count):
        await steps(count)
        task.cancel()

    async def main(pool):
        watched = Watched()
        loop = asyncio.get_running_loop()
        tasks, others = [], []
        for number, visit in enumerate(visits):
            args = (number, visit["timeout_s"], visit["waits"])
            if visit["thread"]:
                others.append(loop.run_in_executor(pool, watched.enter, *args))
                continue
            task = asyncio.create_task(bridge.run(watched.enter, *args))
            tasks.append(task)
            if visit["cancel_after"] is not None:
                others.append(asyncio.create_task(cancel_later(task, visit["cancel_after"])))
        for result in await asyncio.gather(*tasks, *others, return_exceptions=True):
            assert result is None or type(result) is asyncio.CancelledError
        return is_free(watched.lock), await bridge.run(watched.lock.acquire, 0)

    with ThreadPoolExecutor(16) as pool, asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main(pool)) == (True, True)


def test_it_serves_several_loops_and_threads_for_long():
    watched = Watched()
    expected = 0
    errors = []

    def on_a_loop(new_loop, seed):
        random_ = random.Random(seed)

        async def main():
            await asyncio.gather(
                *(
                    bridge.run(watched.enter, (seed, number), LONG_S, random_.randrange(2))
                    for number in range(100)
                )
            )

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())

    def plain(seed):
        for number in range(50):
            watched.enter((seed, number), LONG_S, number % 2)

    def noting(function, *args):
        try:
            function(*args)
        except BaseException as exc:  # noqa: BLE001 - shown by the test
            errors.append(exc)

    threads = []
    for seed, new_loop in enumerate([*LOOPS.values(), *LOOPS.values()]):
        threads.append(threading.Thread(target=noting, args=(on_a_loop, new_loop, seed)))
        expected += 100
    for seed in range(2):
        threads.append(threading.Thread(target=noting, args=(plain, f"thread {seed}")))
        expected += 50
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert watched.entered == expected
    assert is_free(watched.lock)
