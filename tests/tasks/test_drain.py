"""The end of a loop: what is in time ends, the rest is cancelled and says so."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from onloop import phase
from onloop.asgi import lifespan
from onloop.tasks import QueueClosed, astate, drain, home
from onloop.tasks.models import Job
from tests.project.library.models import Author


@asynccontextmanager
async def notes_its_end():
    from tests.tasks.jobs import stage

    yield
    stage.seen.append("hook left")


@pytest.fixture
def played_lifespan(settings_of_onloop):
    """`async with played_lifespan(hook=path)`: a server's lifespan around the block."""

    @asynccontextmanager
    async def played(hook):
        settings_of_onloop(LIFESPAN=[hook])
        incoming, outgoing = asyncio.Queue(), asyncio.Queue()
        serving = asyncio.create_task(lifespan.serve_lifespan(incoming.get, outgoing.put))
        await incoming.put({"type": "lifespan.startup"})
        assert (await outgoing.get())["type"] == "lifespan.startup.complete"
        yield
        await incoming.put({"type": "lifespan.shutdown"})
        assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"
        await serving

    return played


async def test_jobs_that_run_and_wait_are_run_to_their_end(jobs, options, stage):
    options(max_running=1)
    results = [await jobs.write.aenqueue(str(number)) for number in range(4)]
    await drain()
    assert [(await astate(result.id)).status for result in results] == ["SUCCESSFUL"] * 4
    assert await Author.objects.acount() == 4
    assert await Job.objects.filter(status="SUCCESSFUL").acount() == 4


async def test_what_is_late_is_cancelled_and_marked(jobs, options, stage, caplog):
    options(max_running=2)
    running = await jobs.cleans_up.aenqueue()
    in_thread = await jobs.report_in_thread.aenqueue(10_000)
    waiting = await jobs.note.aenqueue("never")
    delayed = await jobs.note.using(run_after=timezone.now() + timedelta(days=1)).aenqueue(
        "never"
    )
    await stage.until(lambda: stage.running == 1 and len(stage.seen) > 2)

    await drain(0.01)
    for result in (running, in_thread, waiting, delayed):
        await result.arefresh()
        assert str(result.status) == "FAILED"
        assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
    assert "never" not in stage.seen
    assert await Author.objects.filter(name="cleaned up").aexists()
    assert "2 jobs that ran and 2 that waited are cancelled" in caplog.text


async def test_a_thread_that_hears_nothing_is_named_and_not_waited_for_for_ever(
    jobs, stage, caplog, monkeypatch
):
    from onloop.tasks import jobqueue

    monkeypatch.setattr(jobqueue, "CANCEL_S", 0.05)
    result = await jobs.hold_in_thread.aenqueue()
    await stage.until(lambda: stage.running)
    await drain(0)
    assert f"go on though they were cancelled: {result.id}" in caplog.text
    stage.go.set()
    await stage.until(lambda: not stage.running)


async def test_what_is_not_due_in_time_does_not_hold_up_the_end(jobs):
    later = timezone.now() + timedelta(seconds=3600)
    result = await jobs.note.using(run_after=later).aenqueue("never")
    await drain(600)
    await result.arefresh()
    assert str(result.status) == "FAILED"


async def test_what_is_due_in_time_is_waited_for(jobs, stage):
    soon = timezone.now() + timedelta(seconds=0.2)
    await jobs.note.using(run_after=soon).aenqueue("soon")
    await drain(20)
    assert stage.seen == ["soon"]


async def test_jobs_that_others_enqueue_at_the_end_are_run(jobs, stage):
    await jobs.enqueues.aenqueue("late")
    await drain(20)
    assert stage.seen == ["late"]


async def test_no_job_is_taken_after_the_end(jobs):
    await jobs.add.aenqueue(1, 2)
    await drain()
    with pytest.raises(QueueClosed, match="at its end"):
        await jobs.add.aenqueue(1, 2)


async def test_a_drain_that_is_cancelled_leaves_no_job(jobs, stage):
    result = await jobs.hold.aenqueue()
    await stage.until(lambda: stage.running)
    draining = asyncio.create_task(drain())
    await asyncio.sleep(0)
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    await stage.until(lambda: not stage.running)
    assert (await astate(result.id)).is_finished


async def test_a_lifespan_drains_before_its_hooks_are_left(
    jobs, stage, settings_of_onloop, played_lifespan
):
    stage.go.set()
    async with played_lifespan(hook="tests.tasks.test_drain.notes_its_end"):
        result = await jobs.hold.aenqueue("in a server")
        assert home.loop_for_jobs() is asyncio.get_running_loop()
    assert stage.seen == ["in a server", "hook left"]
    assert (await astate(result.id)).status == "SUCCESSFUL"
    with pytest.raises(QueueClosed, match="at its end"):
        await jobs.add.aenqueue(1, 2)
    # On the same loop, the next server takes jobs again.
    async with played_lifespan(hook="tests.tasks.test_drain.notes_its_end"):
        result = await jobs.add.aenqueue(1, 2)
    assert (await astate(result.id)).status == "SUCCESSFUL"


async def test_a_lifespan_cancels_what_takes_longer_than_the_option_says(
    jobs, options, stage, settings_of_onloop, played_lifespan
):
    options(drain_s=0.01)
    async with played_lifespan(hook="tests.tasks.test_drain.notes_its_end"):
        result = await jobs.hold.aenqueue()
        await stage.until(lambda: stage.running)
    assert (await astate(result.id)).status == "CANCELLED"
    assert stage.seen == ["held", "hook left"]


async def test_a_server_that_stops_takes_no_first_job(jobs):
    loop = asyncio.get_running_loop()
    phase.enter_phase(loop, "stopping")
    with pytest.raises(QueueClosed, match="shutting down"):
        await jobs.add.aenqueue(1, 2)


async def test_loops_that_are_closed_are_forgotten(jobs):
    async def enqueue():
        jobs.add.enqueue(1, 2)
        await drain()
        return asyncio.get_running_loop()

    before = [await asyncio.to_thread(asyncio.run, enqueue()) for _ in range(2)]
    await jobs.add.aenqueue(1, 2)
    assert not set(before) & set(home._queues)
    assert asyncio.get_running_loop() in home._queues
