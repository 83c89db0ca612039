"""Jobs in a real Celery worker, with a real Redis between."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from onloop.tasks import JobCancelled, acancel, astate, owned_by
from onloop.tasks.framework import TaskResultDoesNotExist, task_backends
from onloop.tasks.models import Job
from tests.project.library.models import Author
from tests.redis import RedisServer
from tests.tasks.workers import Worker

pytest.importorskip("celery")

# More than `ONLOOP["TASK_THREADS"]`.
JOBS_AT_ONCE = 40

# Celery's own calls of redis.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture(scope="module")
def broker():
    """A Redis of this module: its workers are not to lose it between tests."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def environment(broker):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONLOOP_TEST_CELERY", broker.url)
        yield


@pytest.fixture
def celery_jobs(environment, db_clean):
    """The module of tasks; this process may enqueue them."""
    import kombu.pools
    from django.conf import settings
    from django.test import override_settings

    from onloop.tasks import ownloop

    backend = {"BACKEND": "onloop.tasks.CeleryBackend", "QUEUES": []}
    with override_settings(TASKS={**settings.TASKS, "celery": backend}):
        from tests.tasks import celeryapp, celeryjobs

        yield celeryjobs
        kombu.pools.reset()
        celeryapp.app._after_fork()  # or it would go on with pools that are closed
        celeryapp.app.backend.client.connection_pool.disconnect()
        ownloop.end_own_loop(0)


@pytest.fixture(scope="module")
def shared_worker(environment, database, tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("worker"), "--concurrency=2")
    yield worker
    worker.stop()


@pytest.fixture
def worker(celery_jobs, shared_worker):
    """A worker of Celery's default queue, with two processes."""
    seen = len(shared_worker.text())
    yield shared_worker
    print(shared_worker.text()[seen:])  # pytest shows it when the test fails


@pytest.fixture
def own_worker(celery_jobs, tmp_path, request):
    """A worker of the queue "own"; its arguments are the parameter."""
    worker = Worker(tmp_path, "-Q", "own", *request.param)
    yield worker
    try:
        worker.stop()
    finally:
        print(worker.text()[-8000:])


async def ended(result):
    async with asyncio.timeout(90):
        while not result.is_finished:
            await asyncio.sleep(0.02)
            await result.arefresh()
    return result


async def row_when(result, condition):
    async with asyncio.timeout(90):
        while True:
            row = await Job.objects.filter(pk=result.id).afirst()
            if row is not None and condition(row):
                return row
            await asyncio.sleep(0.02)


async def test_functions_of_both_kinds_run_in_a_worker(celery_jobs, worker):
    result = await celery_jobs.add.aenqueue(1, b=2)
    assert str(result.status) == "READY"
    await ended(result)
    assert (result.return_value, result.attempts) == (3, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at

    ran = [await ended(await celery_jobs.loop_of.aenqueue(name)) for name in "abcdef"]
    loops = {tuple(each.return_value[:2]) for each in ran}
    assert len(loops) == len({pid for pid, _ in loops})  # one loop a process
    assert os.getpid() not in {pid for pid, _ in loops}
    assert {tuple(each.return_value[2:]) for each in ran} == {("bridge", 1)}


async def test_what_a_job_knows_of_itself(celery_jobs, worker):
    result = await ended(await celery_jobs.in_context.aenqueue("word"))
    assert result.return_value == [result.id, 1, "RUNNING", "word"]
    again = await celery_jobs.in_context.aget_result(result.id)
    assert (again.args, again.kwargs, again.backend) == (["word"], {}, "celery")
    with pytest.raises(TaskResultDoesNotExist):
        await celery_jobs.in_context.aget_result("unknown")


@pytest.mark.parametrize("name", ["fail", "fail_in_thread"])
async def test_an_error_is_kept_and_celery_knows_of_it(celery_jobs, worker, name):
    from celery.result import AsyncResult

    result = await ended(await getattr(celery_jobs, name).aenqueue("no such book"))
    (error,) = result.errors
    assert error.exception_class is LookupError
    assert "no such book" in error.traceback
    async with asyncio.timeout(90):
        while (state := AsyncResult(result.id).state) != "FAILURE":
            assert state in ("PENDING", "STARTED")
            await asyncio.sleep(0.02)
    assert (await row_when(result, lambda row: row.finished)).status == "FAILED"


async def test_progress_is_stored_by_the_worker(celery_jobs, worker):
    ann = await User.objects.acreate(username="ann")
    for task in (celery_jobs.count, celery_jobs.count_in_thread):
        with owned_by(ann):
            result = await task.aenqueue(100, 0.02)
        row = await row_when(result, lambda row: row.done)
        if row.done < 100:  # else it has been too quick to be seen
            assert (row.status, row.total, row.owner_id) == ("RUNNING", 100, ann.pk)
        assert (await astate(result.id)).done >= row.done
        await ended(result)
        row = await row_when(result, lambda row: row.finished)
        assert (row.status, row.done, row.note) == ("SUCCESSFUL", 100, "100 of 100")
        assert result.return_value == 100


@pytest.mark.parametrize("name", ["count", "count_in_thread"])
async def test_a_job_is_cancelled_at_its_next_report(celery_jobs, worker, name):
    result = await getattr(celery_jobs, name).aenqueue(100_000, 0.02)
    await row_when(result, lambda row: row.done)
    assert await acancel(result.id)
    row = await row_when(result, lambda row: row.finished)
    assert row.status == "CANCELLED"
    await ended(result)
    assert issubclass(result.errors[0].exception_class, asyncio.CancelledError)
    assert not await acancel(result.id)


@pytest.mark.parametrize("name", ["returns_when_told", "for_ever_in_silence"])
async def test_a_job_that_reports_nothing_is_cancelled(celery_jobs, worker, name):
    """The one asks, and the other hears of it with the beat, every 15 s."""
    result = await getattr(celery_jobs, name).aenqueue()
    await row_when(result, lambda row: row.status == "RUNNING")
    assert await acancel(result.id)
    await row_when(result, lambda row: row.finished)
    assert await Author.objects.filter(name="told").aexists()


async def test_a_job_that_is_cancelled_as_it_begins_stays_cancelled(celery_jobs, worker):
    """Its row is not to be seen yet when the worker begins, and says CANCELLED when it is."""
    from tests.tasks.celeryapp import app

    async with transaction.atomic():
        result = await celery_jobs.hold_when_told.using(queue_name="held").aenqueue()
        # Not before: a worker that is quicker than the row makes one itself.
        assert await asyncio.to_thread(app.control.add_consumer, "held", reply=True)
        async with asyncio.timeout(90):
            while await status_of(result) != "RUNNING":
                await asyncio.sleep(0.01)
        assert await acancel(result.id)
    async with asyncio.timeout(90):
        while not await Author.objects.filter(name="told").aexists():
            await asyncio.sleep(0.01)
    assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
    await Author.objects.acreate(name="go")
    await row_when(result, lambda row: row.status == "SUCCESSFUL")


async def test_a_job_that_no_worker_has_begun_is_never_begun(celery_jobs, tmp_path):
    result = await celery_jobs.note.using(queue_name="later").aenqueue("never")
    assert await status_of(result) == "READY"
    assert await acancel(result.id)
    assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
    worker = Worker(tmp_path, "--pool=solo", "-Q", "later")  # which has heard of no revocation
    try:
        await ended(await celery_jobs.add.using(queue_name="later").aenqueue(1, 1))
    finally:
        worker.stop()
    await ended(result)
    assert result.errors[0].exception_class is JobCancelled
    assert not await Author.objects.aexists()


async def status_of(result):
    await result.arefresh()
    return str(result.status)


async def test_priorities_queues_and_times_are_celery_s(celery_jobs, worker):
    backend = task_backends["celery"]
    assert [backend.priority_of(celery_jobs.add.using(priority=each))
            for each in (100, 50, -100)] == [0, 2, 9]  # fmt: skip

    soon = timezone.now() + timedelta(seconds=1)
    result = await ended(await celery_jobs.add.using(run_after=soon).aenqueue(1, 1))
    assert result.started_at >= soon
    elsewhere = await celery_jobs.add.using(queue_name="elsewhere").aenqueue(1, 1)
    await ended(await celery_jobs.add.aenqueue(1, 1))
    assert await status_of(elsewhere) == "READY"  # nobody consumes that queue


async def test_a_job_whose_worker_is_killed_runs_again(celery_jobs, worker):
    result = await ended(await celery_jobs.die_once.aenqueue("first attempt"))
    assert (result.return_value, result.attempts) == ("done", 2)


@pytest.mark.parametrize(
    "own_worker",
    [("--concurrency=1", "--soft-time-limit=2", "--time-limit=60")],
    indirect=True,
)
async def test_a_soft_time_limit_cancels_a_coroutine(celery_jobs, own_worker):
    from celery.exceptions import SoftTimeLimitExceeded

    for _ in range(5):  # the limit may come before the job waits
        result = await ended(await celery_jobs.for_ever.using(queue_name="own").aenqueue())
        assert issubclass(result.errors[0].exception_class, SoftTimeLimitExceeded)
        if await Author.objects.filter(name="cleaned up").aexists():
            break
    assert await Author.objects.filter(name="cleaned up").aexists()
    assert (await row_when(result, lambda row: row.finished)).status == "FAILED"


@pytest.mark.parametrize("own_worker", [("--concurrency=1", "--time-limit=1")], indirect=True)
async def test_a_job_that_celery_gives_up_has_failed(celery_jobs, own_worker):
    result = await ended(await celery_jobs.for_ever.using(queue_name="own").aenqueue())
    assert "TimeLimitExceeded" in result.errors[0].exception_class_path


async def test_a_task_that_is_gone_has_failed(celery_jobs, worker, monkeypatch):
    task = celery_jobs.add
    monkeypatch.setattr(task.func, "__qualname__", "gone")
    monkeypatch.setattr(celery_jobs, "gone", task, raising=False)
    result = await ended(await task.aenqueue(1, 1))
    assert "There is no task 'tests.tasks.celeryjobs.gone'" in result.errors[0].traceback


@pytest.mark.parametrize(
    "own_worker", [("--pool=threads", "--concurrency=4"), ("--pool=solo",)], indirect=True
)
async def test_other_pools_run_jobs(celery_jobs, own_worker):
    tasks = [
        task.using(queue_name="own")
        for task in (celery_jobs.count, celery_jobs.count_in_thread)
    ]
    results = [await task.aenqueue(3, 0.01) for task in tasks * 3]
    for result in results:
        assert (await ended(result)).return_value == 3


async def test_under_onloop_s_pool_more_jobs_wait_at_once_than_it_has_threads(
    celery_jobs, tmp_path
):
    env = {"CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool"}
    worker = Worker(tmp_path, "-Q", "own", "--pool=custom", "--concurrency=100", env=env)
    try:
        meet = celery_jobs.meet.using(queue_name="own")
        jobs = [await meet.aenqueue(n, JOBS_AT_ONCE) for n in range(JOBS_AT_ONCE)]
        jobs.append(await celery_jobs.add.using(queue_name="own").aenqueue(1, 2))
        assert [(await ended(job)).return_value for job in jobs] == [
            "bridge"
        ] * JOBS_AT_ONCE + [3]
        stopped = await celery_jobs.count.using(queue_name="own").aenqueue(10_000, 0.05)
        await row_when(stopped, lambda row: row.done > 0)
        assert await acancel(stopped.id)
        row = await row_when(stopped, lambda row: row.finished)
        assert row.status == "CANCELLED"
        assert str((await ended(stopped)).status) == "FAILED"
    finally:
        worker.stop()
        print(worker.text()[-8000:])


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("pool", ["prefork", "custom"])
async def test_a_database_that_is_away_fails_no_job_that_does_without(
    celery_jobs, tmp_path, pool
):
    env = {"CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool", "ONLOOP_TEST_PORT": "1"}
    worker = Worker(tmp_path, "-Q", "own", f"--pool={pool}", "--concurrency=2", env=env)
    try:
        tasks = [task.using(queue_name="own") for task in (celery_jobs.add, celery_jobs.aadd)]
        for result in [await task.aenqueue(1, 2) for task in tasks]:
            assert (await ended(result)).return_value == 3
    finally:
        worker.stop()
        print(worker.text()[-8000:])


async def test_a_sender_s_transaction_is_its_own(celery_jobs, worker):
    with pytest.raises(ZeroDivisionError):
        async with transaction.atomic():
            result = await celery_jobs.note.aenqueue("kept")
            raise ZeroDivisionError
    await ended(result)
    assert await Author.objects.filter(name="kept").aexists()
    assert (await row_when(result, lambda row: row.finished)).status == "SUCCESSFUL"


async def test_a_broker_that_is_away_is_an_error_and_leaves_no_result(celery_jobs, broker):
    from kombu.exceptions import OperationalError
    from redis.exceptions import ConnectionError as RedisAway

    broker.stop()  # the last test of this module
    with pytest.raises((OperationalError, RedisAway)):
        async with asyncio.timeout(90):
            await celery_jobs.add.aenqueue(1, 1)
    assert not await Job.objects.aexists()

    now = timezone.now()
    await Job.objects.acreate(id="far", name="x", status="RUNNING", created=now)
    assert await acancel("far")  # by the database
    assert (await Job.objects.aget(pk="far")).stop
