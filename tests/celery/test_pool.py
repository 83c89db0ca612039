"""The pool by itself, in process, as Celery's consumer uses it; a real broker is elsewhere."""

from __future__ import annotations

import threading
import time

import pytest
from celery.app.trace import trace_task_ret

from onloop.celery import TaskPool, loops
from onloop.celery.line import Line
from onloop.perloop import PerLoop
from tests.celery.tasks import add


@pytest.fixture
def pool(broker: str):
    from tests.celery.app import app

    pool = TaskPool(2, app=app)
    pool.start()
    yield pool
    pool.stop()
    names = [thread.name for thread in threading.enumerate()]
    assert "onloop-celery-loop" not in names


class Told:
    """What Celery's request is told, in order."""

    def __init__(self):
        self.told = []
        self.over = threading.Event()

    def accepted(self, number, when):
        self.told.append("accepted")

    def success(self, outcome):
        self.told.append(outcome)
        self.over.set()

    def failure(self, info):
        self.told.append(info.exception)
        self.over.set()

    def options(self):
        return {
            "accept_callback": self.accepted,
            "callback": self.success,
            "error_callback": self.failure,
        }


def apply(pool, target, *args):
    told = Told()
    job = pool.apply_async(target, args, **told.options())
    return told, job


def test_what_is_no_task_runs_in_a_thread(pool: TaskPool) -> None:
    told, _ = apply(pool, lambda: threading.current_thread().name)
    assert told.over.wait(90)
    assert told.told[0] == "accepted"
    assert told.told[1].startswith("onloop-celery-task")


@pytest.mark.parametrize("error", [ValueError("it failed"), SystemExit(1)])
def test_an_error_around_a_task_is_told(pool: TaskPool, error: BaseException) -> None:
    def fail():
        raise error

    told, _ = apply(pool, fail)
    assert told.over.wait(90)
    exception = getattr(told.told[1], "exc", told.told[1])
    assert "it failed" in repr(exception) or "SystemExit(1)" in repr(exception)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery, of redis-py
def test_a_task_is_traced_on_the_loop(pool: TaskPool) -> None:
    told, _ = apply(
        pool, trace_task_ret, add.name, "an id", {"id": "an id"}, ((1, 2), {}, {}), None, None
    )
    assert told.over.wait(90)
    assert isinstance(told.told[1], tuple), repr(told.told[1].exc)
    assert told.told[1][:2] == (0, "3")


def test_it_grows_and_shrinks(pool: TaskPool) -> None:
    go = threading.Event()
    counts = threading.Semaphore(0)

    def work():
        counts.release()
        assert go.wait(90)

    all_told = [apply(pool, work)[0] for _ in range(5)]
    assert all(counts.acquire(timeout=90) for _ in range(2))
    assert pool.info["running"] == 2
    assert pool.num_processes == 2
    pool.grow(2)
    assert all(counts.acquire(timeout=90) for _ in range(2))
    pool.shrink(3)
    go.set()
    assert all(told.over.wait(90) for told in all_told)
    assert (pool.num_processes, pool.info["waiting"]) == (1, 0)


def test_jobs_that_have_not_begun_are_dropped(pool: TaskPool) -> None:
    go = threading.Event()

    def work():
        assert go.wait(90)

    first = [apply(pool, work)[0] for _ in range(2)]
    second = [apply(pool, work)[0] for _ in range(3)]
    deadline = time.monotonic() + 90
    while pool.info["waiting"] < 3:
        assert time.monotonic() < deadline
    pool.flush()
    go.set()
    assert all(told.over.wait(90) for told in first)
    pool.stop()
    assert [told.told for told in second] == [[]] * 3


def test_a_sync_task_waits_for_a_thread_and_an_async_one_does_not() -> None:
    began = []

    class Job:
        def __init__(self, number, on_loop):
            self.number, self.on_loop = number, on_loop

        def begin_on(self, loop, over):
            began.append(self.number)

        def begin_in(self, threads, over):
            began.append(self.number)

    line = Line(None, None, limit=3, threads=1)
    for number, on_loop in enumerate([False, False, True, True, True]):
        line.add(Job(number, on_loop))
    assert began == [0, 2, 3]
    line._over(line._running[0])
    assert began == [0, 2, 3, 1], "the one that has waited longest"


def test_what_a_loop_has_open_is_closed_with_it(broker: str) -> None:
    closed = []

    async def close(what):
        closed.append(what)

    clients = PerLoop("a client", lambda: "client", close)

    async def use():
        return clients.get()

    assert loops.run(use) == "client"
    assert not closed
    loops.close_worker_loop()
    assert closed == ["client"]


def test_the_loop_of_a_process_is_made_once_and_closed(broker: str) -> None:
    first = loops.worker_loop()
    assert loops.worker_loop() is first
    loops.close_worker_loop()
    assert first.loop.is_closed()
    second = loops.worker_loop()
    assert second is not first
    loops.close_worker_loop()
