"""Each wait of a task, of Celery's around it and of who sends it, cut off once and twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.app.trace import trace_task_ret
from django.db import transaction

from onloop import bridge
from onloop.celery import hops, loops
from onloop.celery.errors import SoftLimit
from onloop.celery.execution import Interruptible
from onloop.celery.jobs import Job
from onloop.loopthread import LoopThread
from tests.asgi.conftest import borrowed
from tests.celery import tasks
from tests.celery.test_limits_at_waits import Counted
from tests.project.library.models import Author

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery

_ids = itertools.count()


class Swept:
    """A message of a worker's, run on this loop as its pool does; `at_wait` looks on."""

    def __init__(self, task, *args, at_wait=lambda waits: None, **limits):
        self.id = f"swept-{next(_ids)}"
        self.waits = 0
        self.told = []
        self.at_wait = at_wait
        self.job = Job(
            name=task.name,
            on_loop=True,
            target=trace_task_ret,
            args=(task.name, self.id, {"id": self.id}, (args, {}, {}), None, None),
            kwargs={},
            on_accepted=lambda *_: self.told.append("accepted"),
            on_success=lambda outcome: self.told.append("failed" if outcome[0] else "done"),
            on_failure=self.told.append,
            on_timeout=lambda *_: self.told.append("timeout"),
            quick=False,
            told=lambda: None,
            **limits,
        )
        set_limits = self.job._set_limits

        def limits_begin():
            self.has_limits = True
            return set_limits()

        self.has_limits = False
        self.job._set_limits = limits_begin
        execution = self.job.execution
        self.task = execution.task = asyncio.get_running_loop().create_task(
            Counted(Interruptible(self.job._serve(), execution), self)
        )

    def stored(self):
        """The state in Celery's result backend, and the result or the error."""
        result = tasks.write_here.AsyncResult(self.id)
        return result.state, result.result


@pytest.fixture
async def hopped(broker, db_clean):
    """Each thread that Celery's I/O hops into is there, and connected, as the app is."""
    all_there = threading.Barrier(hops.THREADS)

    def look():
        all_there.wait(90)
        tasks.add.apply_async((1, 2), queue="nobody's")
        return tasks.add.backend.get_state("none")

    await asyncio.gather(*(bridge.run(hops.hop, look) for _ in range(hops.THREADS)))


def stop(job):
    job.stop()


def hard_limit(job):
    job._limit_is_over()


def soft_limit(job):
    job.execution.limit(SoftLimit(1))


def soft_then_hard(job):
    soft_limit(job)
    hard_limit(job)


def stop_twice(job):
    job.stop()
    job.stop()


async def cut_off(number, interrupt):
    """Run a task and interrupt it at its `number`th wait; tell whether it came so far."""
    reached = False

    def at_wait(waits):
        nonlocal reached
        if waits == number:
            reached = True
            # Limits count from when Celery has accepted the task.
            if swept.has_limits or interrupt in (stop, stop_twice):
                interrupt(swept.job)

    swept = Swept(tasks.write_here, f"in a task {number}", at_wait=at_wait)
    async with asyncio.timeout(90):
        await asyncio.wait({swept.task})
    return reached, swept


@pytest.mark.parametrize(
    "interrupt", [stop, stop_twice, hard_limit, soft_limit, soft_then_hard]
)
async def test_a_task_that_is_cut_off_anywhere_is_told_of_once_and_leaves_nothing(
    hopped, leak_ledger, interrupt
):
    seen = set()
    for number in range(1, 200):
        reached, swept = await cut_off(number, interrupt)
        assert swept.task.exception() is None, "what Celery does around it is never cut off"
        assert swept.told[0] == "accepted"
        ends = swept.told[1:]
        assert len(ends) <= 1
        seen.update(ends or ["nothing"])
        rows = await Author.objects.filter(name=f"in a task {number}!").acount()
        state, error = await bridge.run(swept.stored)
        if ends == ["done"]:
            assert (rows, state) == (1, "SUCCESS")
        elif ends == ["failed"]:
            assert (state, type(error)) == ("FAILURE", SoftTimeLimitExceeded)
        elif ends == ["timeout"]:
            assert interrupt in (hard_limit, soft_then_hard)
            assert state != "SUCCESS"
        else:  # Celery has settled it, as a revocation
            assert interrupt in (stop, stop_twice)
            assert state != "SUCCESS"
        assert borrowed() == {}
        assert len(asyncio.all_tasks()) == 1
        if not reached:
            assert ends == ["done"]
            break
    else:
        pytest.fail("it never ended")
    assert number > 5
    expected = {stop: "nothing", stop_twice: "nothing", soft_limit: "failed"}
    assert seen == {"done", expected.get(interrupt, "timeout")}
    async with transaction.atomic():
        await Author.objects.all().adelete()


SENDERS = {
    "delay": lambda: tasks.add.apply_async((1, 2), queue="nobody's"),
    "a group": lambda: tasks.group(
        tasks.add.s(n, n).set(queue="nobody's") for n in range(3)
    ).apply_async(),
    "a result": lambda: tasks.add.backend.get_state("unknown"),
}


@pytest.mark.parametrize("name", SENDERS)
async def test_who_sends_and_is_cancelled_leaves_nothing(
    hopped, cancel_sweep, leak_ledger, name
):
    def check(outcome):
        assert len(asyncio.all_tasks()) == 1

    sweep = await cancel_sweep(lambda: bridge.run(SENDERS[name]), check=check)
    assert sweep.waits >= 1


@pytest.mark.parametrize("call", ["called", "eager"])
async def test_a_task_that_is_called_here_and_cancelled_rolls_back(
    hopped, cancel_sweep, leak_ledger, call
):
    async def scenario():
        if call == "called":  # as in a view
            return await bridge.run(lambda: bridge.await_(tasks.write_here("here")))
        return await bridge.run(lambda: tasks.write_here.apply(("here",)).get())

    async def check(outcome):
        rows = await Author.objects.acount()
        assert rows == 1 if outcome.finished else rows <= 1
        assert borrowed() == {}
        await Author.objects.all().adelete()

    await cancel_sweep(scenario, check=check)


def test_a_limit_that_comes_while_a_task_is_handed_over_ends_it(broker, monkeypatch):
    """Celery raises it in the thread, between any two of its steps."""
    call, ended = LoopThread.call, threading.Event()

    def called_and_limited(self, function, *args, **kwargs):
        call(self, function, *args, **kwargs)
        monkeypatch.setattr(LoopThread, "call", call)
        raise SoftTimeLimitExceeded

    async def for_ever():
        await asyncio.sleep(600)

    async def is_over():
        while [
            task for task in asyncio.all_tasks() if isinstance(task.get_coro(), Interruptible)
        ]:
            await asyncio.sleep(0.01)
        ended.set()

    thread = loops.worker_loop()
    monkeypatch.setattr(LoopThread, "call", called_and_limited)
    with pytest.raises(SoftTimeLimitExceeded):
        loops.run(for_ever)
    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(is_over(), thread.loop).result(20)
    loops.close_worker_loop()
    assert ended.is_set()


def test_a_thread_that_waits_for_the_worker_s_loop_is_told_of_its_end(broker):
    begun, told = threading.Event(), []

    async def for_ever():
        begun.set()
        await asyncio.sleep(600)

    def wait():
        try:
            loops.run(for_ever)
        except BaseException as exc:  # noqa: BLE001 - it is looked at
            told.append(type(exc))

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(90)
    loops.close_worker_loop()
    thread.join(20)
    assert told
    assert not thread.is_alive()
