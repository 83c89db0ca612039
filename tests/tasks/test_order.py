"""The states of a job never go backwards, whoever writes them at once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from channels.layers import get_channel_layer
from django.db import transaction
from django.utils import timezone

from onloop import bridge
from onloop.tasks import acancel, announcing, records, results
from onloop.tasks.jobstate import FINISHED, State
from onloop.tasks.live import LiveJob, new_result
from onloop.tasks.models import Job
from onloop.tasks.reports import current_job
from tests.tasks.test_progress import over

NOW = timezone.now()
WAITS = State(id="x", name="x", created=NOW)
RUNS = replace(WAITS, status="RUNNING", started=NOW + timedelta(seconds=1))
ENDED = replace(RUNS, status="SUCCESSFUL", finished=NOW + timedelta(seconds=2))
# Another attempt: that of a worker to which Celery gave the job again.
AGAIN = replace(RUNS, started=NOW + timedelta(seconds=3))
RANKS = {"READY": 0, "RUNNING": 1} | dict.fromkeys(FINISHED, 2)


async def insert(state):
    await bridge.run(records.insert, state)


async def save(state, worker="a"):
    return await bridge.run(records.save, state, worker)


async def status():
    return (await Job.objects.aget(pk="x")).status


async def test_one_that_is_cancelled_as_it_begins_elsewhere_stays_cancelled(db_clean):
    """Its process has not told yet that it has begun."""
    await insert(WAITS)
    assert await acancel("x")
    for state in (WAITS, RUNS, replace(RUNS, done=1), AGAIN):
        assert await save(state) == (False, True)
        row = await Job.objects.aget(pk="x")
        assert (row.status, row.finished is None, row.done) == ("CANCELLED", False, 0)
    assert not await acancel("x")
    # It did not hear of it, and has done its work.
    assert await save(ENDED) == (True, False)
    assert await status() == "SUCCESSFUL"


async def test_of_two_attempts_the_newer_is_told_until_one_has_ended(db_clean):
    assert await save(RUNS, "a") == (True, False)
    assert await save(AGAIN, "b") == (True, False)
    assert await save(replace(RUNS, done=5), "a") == (False, False)
    row = await Job.objects.aget(pk="x")
    assert (row.worker, row.started, row.done) == ("b", AGAIN.started, 0)
    late = replace(RUNS, status="SUCCESSFUL", finished=NOW + timedelta(seconds=9))
    assert await save(late, "a") == (True, False)
    assert await save(replace(AGAIN, done=5), "b") == (False, False)
    assert await status() == "SUCCESSFUL"


async def test_an_attempt_after_one_that_has_ended_is_told(db_clean):
    await save(replace(ENDED, status="FAILED"))
    assert await save(AGAIN, "b") == (True, False)
    row = await Job.objects.aget(pk="x")
    assert (row.status, row.finished, row.worker) == ("RUNNING", None, "b")
    assert await save(WAITS) == (False, False)


async def test_a_row_that_is_made_and_cancelled_between_two_statements(db_clean, forced_window):
    async with forced_window.at("onloop.tasks.records._row", before=True) as held:
        saving = asyncio.create_task(save(RUNS))
        await held.reached()
        await Job.objects.acreate(id="x", name="x", status="READY", created=NOW)
        assert await acancel("x")
        held.release()
        assert await saving == (False, True)
    assert await status() == "CANCELLED"


@pytest.mark.parametrize("seed", range(5))
async def test_writers_at_once_and_one_who_cancels(db_clean, seed):
    seen = []

    async def runs():
        await asyncio.sleep(seed / 1000)
        for done in range(5):
            saved = await save(replace(RUNS, done=done))
            seen.append(await status())
            if not saved.is_told and seed % 2 == 0:
                assert (saved.is_stopped, seen[-1]) == (True, "CANCELLED")

    async def again():
        for done in range(5):
            await save(replace(AGAIN, done=done), "b")

    async def cancels():
        await asyncio.sleep(0.002)
        assert await acancel("x")

    await insert(WAITS)
    await asyncio.gather(runs(), cancels(), *([again()] if seed % 2 else []))
    row = await Job.objects.aget(pk="x")
    assert row.stop
    assert (row.status, row.finished is None) in (("CANCELLED", False), ("RUNNING", True))
    for earlier, later in itertools.pairwise(seen):
        assert RANKS[earlier] <= RANKS[later]


async def test_a_job_that_ends_as_it_is_told_to_stop_does_not_cancel_what_comes_after(jobs):
    pytest.importorskip("celery")
    from onloop.tasks import tasks

    job = LiveJob(new_result(jobs.is_told_to_stop_at_its_end, [], {}, "default"))
    current_job.set(job)
    assert await bridge.run(tasks._call, job) == "ended"
    await asyncio.sleep(0)
    assert not asyncio.current_task().cancelling()


async def test_a_job_that_has_begun_when_another_process_cancels_it(jobs, stage, monkeypatch):
    """Its row is not to be seen yet, and says CANCELLED when it is; no event says otherwise."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    monkeypatch.setattr(results, "find", lambda job_id: None)  # as in the other process
    async with transaction.atomic():
        result = await jobs.hold_when_told.aenqueue()
        await layer.group_add(announcing.group_of(result.id), channel)
        await stage.until(lambda: stage.seen)
        assert await acancel(result.id)
    await stage.until(lambda: "told" in stage.seen)
    assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
    stage.go.set()
    await over(stage, result)
    async with asyncio.timeout(90):
        event = await layer.receive(channel)
    assert event["job"]["status"] == "SUCCESSFUL"  # it was told, and has done its work
