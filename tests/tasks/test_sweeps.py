"""Each wait of a job, of who enqueues it and of who ends it, cancelled once and twice."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from onloop.tasks import acancel, astate, home, live, results
from onloop.tasks.jobqueue import JobQueue
from onloop.tasks.live import LiveJob, new_result
from onloop.tasks.models import Job
from onloop.tasks.options import Options
from onloop.tasks.recorder import Recorder
from onloop.tasks.running import run_job
from tests.project.library.models import Author


@pytest.fixture
def is_stored():
    async def is_stored_(job):
        """Its last state is in the database, as it is in memory."""
        row = await Job.objects.filter(pk=job.id).afirst()
        assert row is not None
        assert row.status == job.state().status
        assert row.finished is not None

    return is_stored_


@pytest.mark.parametrize("asks", [False, True], ids=["", "had to wait"])
@pytest.mark.parametrize("name", ["works", "works_in_thread"])
async def test_a_job_that_is_cancelled_at_any_wait_has_an_end_that_is_stored(
    jobs, cancel_sweep, is_stored, name, asks, monkeypatch
):
    monkeypatch.setattr(live, "LOOK_S", -1 if asks else 3600)
    swept = []

    def scenario():
        task = getattr(jobs, name)
        job = LiveJob(new_result(task, ["ann"], {}, "default"))
        job.recorder = Recorder(job, asyncio.get_running_loop())
        swept.append(job)
        return run_job(job)

    async def check(outcome):
        job = swept[-1]
        assert job.is_finished
        await is_stored(job)
        done = job.state().status == "SUCCESSFUL"
        assert outcome.finished or outcome.cancelled
        names = [author.name async for author in Author.objects.order_by("name")]
        # A cancellation that comes during COMMIT is raised after it.
        assert names == ["ann a", "ann b"] or (not names and not done)
        await Author.objects.all().adelete()

    sweep = await cancel_sweep(scenario, check=check)
    assert sweep.runs > 12
    print(f"{name}: {sweep}")


async def test_who_enqueues_and_is_cancelled_leaves_no_place_taken(
    jobs, options, stage, cancel_sweep
):
    options(max_running=1, max_queued=1)

    async def check(outcome):
        async with asyncio.timeout(90):
            queue = home.queue_of(asyncio.get_running_loop(), "default", Options())
            while queue._running or queue._ready:
                await asyncio.sleep(0)
        assert queue._reserved == 0
        assert all(job.is_finished for job in results.results_of("default")._jobs.values())

    sweep = await cancel_sweep(lambda: jobs.write.aenqueue("ann"), check=check)
    assert sweep.runs > 2


async def test_a_drain_that_is_cancelled_at_any_wait_leaves_no_job(
    jobs, stage, cancel_sweep, is_stored
):
    queues = []

    async def prepare():
        queue = JobQueue(asyncio.get_running_loop(), Options())
        job = LiveJob(new_result(jobs.cleans_up, [], {}, "default"))
        job.recorder = Recorder(job, asyncio.get_running_loop())
        stage.seen.clear()
        await Author.objects.all().adelete()
        queue.reserve()
        queue.put(job)
        await stage.until(lambda: stage.seen)
        queues.append((queue, job))

    async def check(outcome):
        queue, job = queues[-1]
        async with asyncio.timeout(90):
            while queue._running:
                await asyncio.sleep(0.001)
        assert queue.closed
        assert job.state().status == "CANCELLED"
        await is_stored(job)

    await cancel_sweep(lambda: queues[-1][0].drain(0.01), prepare=prepare, check=check)


async def test_who_cancels_and_looks_may_be_cancelled(jobs, stage, cancel_sweep):
    await Job.objects.acreate(id="a", name="x", status="RUNNING", created="2026-01-01T00:00Z")

    async def scenario():
        await acancel("a")
        return await astate("a")

    async def check(outcome):
        await Job.objects.aupdate(stop=False)

    assert (await cancel_sweep(scenario, check=check)).runs > 4


async def test_jobs_leave_nothing_behind(jobs, leak_ledger):
    async with asyncio.timeout(90):
        for task in (jobs.works, jobs.works_in_thread):
            enqueued = [await task.aenqueue(str(number)) for number in range(3)]
            await acancel(enqueued[-1].id)
        await home.drain_loop(asyncio.get_running_loop(), 20)
    assert await bridge.run(Job.objects.filter(finished=None).count) == 0
