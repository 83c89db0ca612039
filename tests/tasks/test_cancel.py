"""Jobs that are cancelled: before they begin, where they wait, in their thread, from afar."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from onloop import bridge
from onloop.tasks import (
    JobCancelled,
    acancel,
    astate,
    beats,
    beside,
    cancel,
    home,
    live,
    records,
    results,
)
from onloop.tasks.framework import task_enqueued, task_finished
from onloop.tasks.jobqueue import JobQueue
from onloop.tasks.models import Job
from tests.project.library.models import Author


async def row_when_over(result):
    async with asyncio.timeout(90):
        while True:
            row = await Job.objects.filter(pk=result.id, finished__isnull=False).afirst()
            if row is not None:
                return row
            await asyncio.sleep(0.01)


async def told_to_run(stage, result):
    await stage.until(lambda: stage.seen)
    async with asyncio.timeout(90):
        while not await Job.objects.filter(pk=result.id, status="RUNNING").aexists():
            await asyncio.sleep(0.01)


async def test_a_coroutine_is_cancelled_where_it_waits_and_may_clean_up(jobs, stage, ended):
    result = await jobs.cleans_up.aenqueue()
    await stage.until(lambda: stage.seen)
    assert await acancel(result.id)
    await ended(result)

    assert str(result.status) == "FAILED"
    assert issubclass(result.errors[0].exception_class, asyncio.CancelledError)
    assert (await astate(result.id)).status == "CANCELLED"
    assert (await row_when_over(result)).status == "CANCELLED"
    assert await Author.objects.filter(name="cleaned up").aexists()
    assert not await acancel(result.id)


async def test_a_thread_is_told_when_it_reports(jobs, stage, ended):
    result = await jobs.report_in_thread.aenqueue(10_000)
    await stage.until(lambda: len(stage.seen) > 1)
    assert await acancel(result.id)
    await ended(result)
    assert len(stage.seen) < 10_000
    assert result.errors[0].exception_class is JobCancelled
    assert (await row_when_over(result)).status == "CANCELLED"


async def test_a_thread_that_asks_may_return(jobs, stage, ended):
    result = await jobs.look_in_thread.aenqueue()
    await stage.until(lambda: stage.seen)
    assert await acancel(result.id)
    assert (await ended(result)).return_value == "stopped"
    assert (await astate(result.id)).status == "SUCCESSFUL"


async def test_a_thread_that_did_not_hear_of_it_has_done_its_work(jobs, stage, ended):
    result = await jobs.hold_in_thread.aenqueue("done")
    await stage.until(lambda: stage.seen)
    assert await acancel(result.id)
    await asyncio.sleep(0)
    stage.go.set()
    assert (await ended(result)).return_value == "done"


async def test_a_sync_job_on_the_loop_is_told_when_it_reports(jobs, stage, ended):
    result = await jobs.report_on_loop.aenqueue(100_000)
    await stage.until(lambda: len(stage.seen) > 1)
    assert await acancel(result.id)
    await ended(result)
    assert len(stage.seen) < 100_000
    assert (await astate(result.id)).status == "CANCELLED"


@pytest.mark.parametrize("delayed", [False, True], ids=["ready", "delayed"])
async def test_a_job_that_waits_never_begins(jobs, options, stage, ended, delayed):
    told = []

    def receive(task_result, **kwargs):
        told.append(task_result.id)

    options(max_running=1)
    held = await jobs.hold.aenqueue()
    task = jobs.note
    if delayed:
        task = task.using(run_after=timezone.now() + timedelta(days=1))
    result = await task.aenqueue("never")
    await stage.until(lambda: stage.running)
    task_finished.connect(receive)
    try:
        assert await acancel(result.id)
        await ended(result)  # though no slot is free
        row = await row_when_over(result)
    finally:
        task_finished.disconnect(receive)

    assert told == [result.id]
    assert (row.status, row.started) == ("CANCELLED", None)
    assert (result.started_at, result.attempts) == (None, 0)
    stage.go.set()
    await ended(held)
    assert stage.seen == ["held"]


async def test_a_job_that_is_cancelled_as_it_is_enqueued(jobs, stage, ended):
    result = jobs.note.enqueue("never")
    assert cancel(result.id)
    await ended(result)
    assert not stage.seen
    assert (await astate(result.id)).status == "CANCELLED"


async def test_another_thread_cancels(jobs, stage, ended):
    result = await jobs.hold.aenqueue()
    await stage.until(lambda: stage.running)
    assert await asyncio.to_thread(cancel, result.id)
    await ended(result)
    assert (await astate(result.id)).status == "CANCELLED"


async def test_a_job_of_another_process_hears_of_it_when_it_reports(jobs, stage, monkeypatch):
    result = await jobs.report_for_ever.aenqueue()
    await told_to_run(stage, result)
    # As in a process that does not run it.
    monkeypatch.setattr(results, "find", lambda job_id: None)
    assert await acancel(result.id)
    assert (await row_when_over(result)).status == "CANCELLED"
    assert not await acancel(result.id)


@pytest.fixture
def lock_rows():
    """What nobody can read or write until the caller's block ends: the table of states."""

    def lock():
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {Job._meta.db_table} IN ACCESS EXCLUSIVE MODE")

    return lock


@pytest.fixture
async def cancel_from_afar(stage, monkeypatch):
    """`await cancel_from_afar(result)`, as in a process that does not run the job."""
    find = results.find

    async def cancel_from_afar_(result):
        await told_to_run(stage, result)
        monkeypatch.setattr(results, "find", lambda job_id: None)
        assert await acancel(result.id)
        monkeypatch.setattr(results, "find", find)

    return cancel_from_afar_


async def test_a_thread_of_another_process_that_asks_may_return(jobs, cancel_from_afar, ended):
    result = await jobs.look_in_thread.aenqueue()
    await cancel_from_afar(result)
    assert (await ended(result)).return_value == "stopped"
    assert (await row_when_over(result)).status == "SUCCESSFUL"


async def test_a_sync_job_on_the_loop_that_asks_lets_others_run_and_is_cancelled_there(
    jobs, cancel_from_afar
):
    result = await jobs.look_on_loop.aenqueue()
    await cancel_from_afar(result)
    assert (await row_when_over(result)).status == "CANCELLED"


async def test_a_job_of_another_process_that_says_nothing_is_cancelled_where_it_waits(
    jobs, cancel_from_afar, ended, monkeypatch
):
    monkeypatch.setattr(beats, "EVERY_S", 0.02)
    result = await jobs.cleans_up.aenqueue()
    await cancel_from_afar(result)
    assert (await row_when_over(result)).status == "CANCELLED"
    assert await Author.objects.filter(name="cleaned up").aexists()


async def test_who_hears_it_from_the_database_is_cancelled_once(
    jobs, stage, cancel_from_afar, monkeypatch
):
    """It may clean up, and report meanwhile."""
    monkeypatch.setattr(beats, "EVERY_S", 0.02)
    result = await jobs.reports_while_it_cleans_up.aenqueue()
    await cancel_from_afar(result)
    row = await row_when_over(result)
    assert (row.status, row.done, stage.seen) == ("CANCELLED", 19, ["working", "cleaned up"])


async def test_a_job_asks_the_database_only_now_and_then(jobs, stage, ended, monkeypatch):
    asked = []
    is_stopped = records.is_stopped

    def counted(job_id):
        asked.append(time.monotonic())
        return is_stopped(job_id)

    monkeypatch.setattr(records, "is_stopped", counted)
    result = await jobs.look_in_thread.aenqueue()
    await stage.until(lambda: len(asked) > 3)
    stage.go.set()
    assert (await ended(result)).return_value == "let go"
    assert (asked[3] - asked[0]) >= 3 * live.LOOK_S * 0.9


async def test_a_database_that_cannot_be_asked_is_asked_again(
    jobs, stage, cancel_from_afar, ended, monkeypatch, caplog
):
    is_stopped, calls = records.is_stopped, []

    def failing(job_id):
        calls.append(job_id)
        if len(calls) < 3:
            raise OSError("away")
        return is_stopped(job_id)

    monkeypatch.setattr(records, "is_stopped", failing)
    result = await jobs.look_in_thread.aenqueue()
    told = f"whether job {result.id} was cancelled: away"
    await stage.until(lambda: caplog.text.count(told) == 2)
    await cancel_from_afar(result)
    assert (await ended(result)).return_value == "stopped"
    assert caplog.text.count(told) == 2


@pytest.mark.only_on("postgresql")
async def test_a_job_that_is_cancelled_as_it_asks_ends_at_once(
    jobs, stage, ended, lock_rows, monkeypatch
):
    monkeypatch.setattr(beside, "TRY_S", 3600)
    told = []

    def receive(task_result, **kwargs):
        told.append(task_result.id)

    run_after = timezone.now() + timedelta(seconds=2 * live.LOOK_S)
    result = await jobs.note.using(run_after=run_after).aenqueue("never")
    task_finished.connect(receive)
    try:
        async with transaction.atomic():
            await bridge.run(lock_rows)
            await stage.until(lambda: results.find(result.id).is_asking)
            assert await acancel(result.id)
            await ended(result)
    finally:
        task_finished.disconnect(receive)
    assert (await row_when_over(result)).status == "CANCELLED"
    assert (told, stage.seen) == ([result.id], [])


@pytest.mark.only_on("postgresql")
async def test_a_job_that_had_to_wait_begins_though_no_answer_comes(
    jobs, stage, lock_rows, monkeypatch, caplog
):
    monkeypatch.setattr(beside, "TRY_S", 0.1)
    run_after = timezone.now() + timedelta(seconds=2 * live.LOOK_S)
    result = await jobs.note.using(run_after=run_after).aenqueue("begun")

    async with transaction.atomic():
        await bridge.run(lock_rows)
        await stage.until(lambda: stage.seen)
    assert (await row_when_over(result)).status == "SUCCESSFUL"
    assert f"whether job {result.id} was cancelled: no answer" in caplog.text


async def test_a_row_that_waits_elsewhere_is_cancelled_at_once(
    jobs, options, stage, monkeypatch
):
    options(max_running=1)
    await jobs.hold.aenqueue()
    result = await jobs.note.aenqueue("never")
    find = results.find
    monkeypatch.setattr(results, "find", lambda job_id: None)
    assert await acancel(result.id)
    assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
    monkeypatch.setattr(results, "find", find)


async def test_a_job_may_cancel_itself(jobs, stage, ended):
    result = await jobs.cancels_itself.aenqueue()
    await ended(result)
    assert (await astate(result.id)).status == "CANCELLED"
    assert stage.seen == [True]


@pytest.mark.parametrize("again", ["cancelled", "at the end of the loop"])
async def test_a_job_that_cleans_up_is_not_cancelled_again(jobs, stage, ended, again):
    result = await jobs.cleans_up_for_long.aenqueue()
    await stage.until(lambda: stage.seen)
    assert await acancel(result.id)
    await stage.until(lambda: "cleaning up" in stage.seen)
    if again == "cancelled":
        assert await acancel(result.id)
        stage.go.set()
    else:
        asyncio.get_running_loop().call_later(0.1, stage.go.set)
        await home.drain_loop(asyncio.get_running_loop(), 0)
    await ended(result)
    assert stage.seen == ["working", "cleaning up", "cleaned up"]
    assert (await row_when_over(result)).status == "CANCELLED"


async def test_a_job_that_is_cancelled_as_its_task_is_made(jobs, stage, ended, monkeypatch):
    """By another thread, in that moment: its end is told and stored as that of any other."""
    told = []
    start = JobQueue._start

    def cancelled_as_it_starts(queue, job):
        thread = threading.Thread(target=cancel, args=[job.id])
        thread.start()
        thread.join()
        start(queue, job)

    def receive(task_result, **kwargs):
        told.append(task_result.id)

    monkeypatch.setattr(JobQueue, "_start", cancelled_as_it_starts)
    task_finished.connect(receive)
    try:
        result = await jobs.note.aenqueue("never")
        await ended(result)
    finally:
        task_finished.disconnect(receive)
    assert (await row_when_over(result)).status == "CANCELLED"
    assert (told, stage.seen) == ([result.id], [])
    await stage.until(lambda: asyncio.get_running_loop() not in beats._beats)


async def test_a_delayed_job_that_a_receiver_cancels_ends_at_once(jobs, stage, ended):
    def receive(task_result, **kwargs):
        assert cancel(task_result.id)

    task_enqueued.connect(receive)
    try:
        run_after = timezone.now() + timedelta(days=1)
        result = await jobs.note.using(run_after=run_after).aenqueue("never")
    finally:
        task_enqueued.disconnect(receive)
    await ended(result)
    assert (await row_when_over(result)).status == "CANCELLED"


@pytest.mark.parametrize("job_id", ["unknown", "", "a\0b", "a\ud83db", "\u00e4"])
async def test_unknown_jobs_are_not_there_to_cancel(jobs, job_id):
    assert not await acancel(job_id)
    assert await astate(job_id) is None
