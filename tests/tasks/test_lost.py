"""A job whose process is gone is told from one that goes on and has nothing to report."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from onloop import bridge
from onloop.tasks import acancel, astate, beats, records
from onloop.tasks.framework import task_enqueued
from onloop.tasks.jobstate import LOST_S
from onloop.tasks.models import Job
from tests.tasks.test_processes import APPLICATION_NAME, start
from tests.tasks.test_progress import over
from tests.tasks.waiting import wait_until


def long_ago():
    return timezone.now() - timedelta(seconds=LOST_S + 1)


async def make(job_id="a", **values):
    values = {"status": "RUNNING", "worker": "gone", "updated": long_ago(), **values}
    return await Job.objects.acreate(id=job_id, name="x", created=long_ago(), **values)


async def updated(result):
    return (await Job.objects.aget(pk=result.id)).updated


def is_beating():
    return asyncio.get_running_loop() in beats._beats


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(beats, "EVERY_S", 0.02)


# --- what is told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "values", "status"),
    [
        (LOST_S + 1, {}, "LOST"),
        (LOST_S + 1, {"status": "READY"}, "LOST"),  # it waited in that process
        (0, {}, "RUNNING"),
        (LOST_S + 1, {"worker": "", "status": "READY"}, "READY"),  # it is in a broker
        (LOST_S + 1, {"status": "FAILED", "finished": timezone.now()}, "FAILED"),
    ],
)
async def test_it_is_lost_if_its_process_is_not_heard_of_before_its_end(
    db_clean, age_s, values, status
):
    job = await make(updated=timezone.now() - timedelta(seconds=age_s), **values)
    state = await astate("a")
    assert state.status == status
    assert not state.is_finished or status == "FAILED"
    assert job.is_lost == (status == "LOST") == await Job.objects.lost().aexists()


async def test_who_cancels_it_need_not_wait(db_clean):
    await make()
    assert await acancel("a")
    state = await astate("a")
    assert (state.status, state.finished is not None) == ("CANCELLED", True)
    assert not await acancel("a")


async def test_one_that_is_heard_of_again_goes_on_and_hears_that_it_was_cancelled(db_clean):
    await make()
    await make("b")
    assert await acancel("b")
    for job_id, saved, status in (
        ("a", (True, False), "RUNNING"),
        ("b", (False, True), "CANCELLED"),
    ):
        state = records.State(
            id=job_id, name="x", status="RUNNING", created=long_ago(), started=long_ago()
        )
        assert await bridge.run(records.save, state, "back") == saved
        assert (await astate(job_id)).status == status
    assert (await Job.objects.aget(pk="a")).worker == "back"


# --- and by whom -----------------------------------------------------------------------------


async def test_a_job_without_reports_and_one_that_waits_are_told_of(
    jobs, options, stage, quick
):
    options(max_running=1)
    held = await jobs.hold.aenqueue()
    waits = await jobs.add.aenqueue(1, 2)
    await stage.until(lambda: stage.seen)
    for result in (held, waits):
        for _ in range(2):
            before = await updated(result)
            async with asyncio.timeout(90):
                while await updated(result) == before:
                    await asyncio.sleep(0.01)
    stage.go.set()
    for result in (held, waits):
        await over(stage, result)
    await stage.until(lambda: not is_beating())


async def test_a_database_that_is_away_is_told_when_it_is_back(
    jobs, stage, quick, monkeypatch, caplog
):
    touch, calls = records.touch, []

    def failing(ids):
        calls.append(ids)
        if len(calls) < 3:
            raise OSError("away")
        touch(ids)

    monkeypatch.setattr(records, "touch", failing)
    held = await jobs.hold.aenqueue()
    before = await updated(held)
    async with asyncio.timeout(90):
        while await updated(held) == before or len(calls) < 3:
            await asyncio.sleep(0.01)
    assert caplog.text.count("could not be told that jobs go on: away") == 2
    assert calls[0] == [held.id]


async def test_a_job_that_was_not_taken_is_not_told_of(jobs, stage):
    def refuse(**kwargs):
        raise ZeroDivisionError

    task_enqueued.connect(refuse)
    try:
        with pytest.raises(ZeroDivisionError):
            await jobs.hold.aenqueue()
    finally:
        task_enqueued.disconnect(refuse)
    assert not is_beating()


async def test_a_loop_that_ends_with_jobs_is_forgotten(jobs, stage):
    async def leave():
        await jobs.hold.aenqueue()
        assert is_beating()
        return asyncio.get_running_loop()

    left = await asyncio.to_thread(asyncio.run, leave())
    held = await jobs.hold.aenqueue()
    assert left not in beats._beats
    stage.go.set()
    await over(stage, held)


async def test_more_jobs_than_fit_into_one_statement_are_told_of(db_clean):
    ids = [str(number) for number in range(records.AT_ONCE + 1)]
    rows = [Job(id=each, name="x", status="RUNNING", created=long_ago(), updated=long_ago())
            for each in ids]  # fmt: skip
    await Job.objects.abulk_create(rows)
    await bridge.run(records.touch, ids)
    assert not await Job.objects.filter(updated__lte=long_ago()).aexists()


def test_a_job_whose_process_was_killed_is_lost(db_clean):
    with start("for_ever") as process:
        try:
            while "begun" not in (line := process.stdout.readline()):
                assert line, process.stderr.read()
            while not (job := Job.objects.filter(status="RUNNING").first()):
                pass
        finally:
            process.kill()
    assert job.worker.endswith(f"-{process.pid}")
    assert not job.is_lost

    if connection.vendor == "postgresql":  # which may still do what was last asked of it
        wait_until(lambda: not db_clean.activity(application_name=APPLICATION_NAME))
    Job.objects.update(updated=long_ago())  # as if a minute were over
    assert records.read(job.id).status == "LOST"
    assert records.ask_to_stop(job.id)
    assert records.read(job.id).status == "CANCELLED"
