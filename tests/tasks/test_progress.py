"""How far a job is: in memory, in the database, and never more often than it should be."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import User
from django.db import DataError, transaction
from django.utils import timezone

from onloop import bridge
from onloop.tasks import astate, owned_by, progress, recorder, records, results
from onloop.tasks.jobstate import State
from onloop.tasks.models import Job


async def row_of(result):
    return await Job.objects.aget(pk=result.id)


@pytest.fixture
def writes(monkeypatch):
    """How often states were written to the database, by job."""
    from collections import Counter

    counted = Counter()
    save = records.save

    def counting(state, *args):
        counted[state.id] += 1
        return save(state, *args)

    monkeypatch.setattr(records, "save", counting)
    return counted


async def over(stage, result):
    """Until the job's row says that it has ended."""

    async def ended():
        return (await astate(result.id)).is_finished

    async with asyncio.timeout(90):
        while not await Job.objects.filter(pk=result.id, finished__isnull=False).aexists():
            await asyncio.sleep(0.01)


async def test_a_report_is_told_at_once_and_stored_soon(jobs, stage):
    ann = await User.objects.acreate(username="ann")
    with owned_by(ann):
        result = await jobs.report_and_hold.aenqueue(3, 7)
    assert (await row_of(result)).status in ("READY", "RUNNING")
    await stage.until(lambda: stage.seen)

    state = await astate(result.id)
    assert (state.done, state.total, state.note, state.status) == (3, 7, "holding", "RUNNING")
    async with asyncio.timeout(90):
        while (await row_of(result)).note != "holding":
            await asyncio.sleep(0.01)
    row = await row_of(result)
    assert (row.done, row.total, row.status, row.owner_id) == (3, 7, "RUNNING", ann.pk)
    assert row.name == "tests.tasks.jobs.report_and_hold"

    stage.go.set()
    await over(stage, result)
    row = await row_of(result)
    assert (row.status, row.done, row.note) == ("SUCCESSFUL", 3, "holding")
    assert row.created <= row.started <= row.finished


async def test_writes_are_few_and_the_last_is_never_lost(jobs, stage, writes):
    result = await jobs.report.aenqueue(5000)
    await over(stage, result)
    row = await row_of(result)
    seconds = (row.finished - row.started).total_seconds()

    assert (row.done, row.note, row.status) == (5000, "row 5000", "SUCCESSFUL")
    # One at the beginning and one at the end, and those that the time between allows.
    assert writes[result.id] <= seconds / recorder.EVERY_S + 3


async def test_a_report_from_a_transaction_does_not_wait_for_it(
    jobs, stage, ended, pytestconfig
):
    result = await jobs.in_a_block.aenqueue("ann")
    await stage.until(lambda: stage.seen)
    assert (await astate(result.id)).note == "inside"
    if pytestconfig.getoption("db") == "postgresql":  # SQLite has one writer
        async with asyncio.timeout(90):
            while (await row_of(result)).note != "inside":
                await asyncio.sleep(0.01)
    stage.go.set()
    await ended(result)
    await over(stage, result)
    assert (await row_of(result)).note == "outside"


async def test_a_job_that_is_rolled_back_keeps_what_it_reported(jobs, stage):
    result = await jobs.reports_and_fails_in_a_block.aenqueue()
    await over(stage, result)
    row = await row_of(result)
    assert (row.done, row.note, row.status) == (1, "in vain", "FAILED")


async def test_a_job_that_is_enqueued_in_a_transaction_has_one_row(jobs, stage, ended):
    async with transaction.atomic():
        result = await jobs.report.aenqueue(3)
        await ended(result)
    await over(stage, result)
    assert (await row_of(result)).done == 3


@pytest.mark.only_on("postgresql")
async def test_a_row_that_cannot_be_made_does_not_break_the_caller_s_transaction(jobs):
    long_id = State(id="x" * 100, name="x", created=timezone.now())
    async with transaction.atomic():
        with pytest.raises(DataError):
            await bridge.run(records.insert, long_id)
        await User.objects.acreate(username="ann")
    assert await User.objects.aexists()


async def test_a_job_whose_row_was_rolled_back_writes_it_anew(jobs, stage, ended):
    with pytest.raises(ZeroDivisionError):
        async with transaction.atomic():
            result = await jobs.report.aenqueue(3)
            raise ZeroDivisionError
    await over(stage, result)
    assert (await row_of(result)).status == "SUCCESSFUL"


async def test_a_row_that_cannot_be_written_does_no_harm_and_is_tried_again(
    jobs, stage, ended, monkeypatch, caplog
):
    save, failures = records.save, iter([OSError("away")] * 3)

    def failing(state, *args):
        for failure in failures:
            raise failure
        return save(state, *args)

    monkeypatch.setattr(records, "save", failing)
    monkeypatch.setattr(recorder, "AGAIN_S", 0.01)
    result = await jobs.report.aenqueue(3)
    assert (await ended(result)).return_value == 3
    await over(stage, result)
    assert (await row_of(result)).status == "SUCCESSFUL"
    assert "could not be stored" in caplog.text


async def test_a_thread_reports_by_a_plain_call(jobs, stage):
    stage.go.set()
    result = await jobs.report_in_thread.aenqueue(4)
    await over(stage, result)
    row = await row_of(result)
    assert (row.done, row.total, row.note) == (3, 4, "in a thread")


async def test_a_total_is_kept_and_long_notes_are_cut(jobs, stage):
    result = await jobs.reports_in_parts.aenqueue()
    await over(stage, result)
    row = await row_of(result)
    assert (row.done, row.total) == (2, 10)
    assert row.note == "x" * 500


@pytest.mark.parametrize("char", ["\0", "\ud83d"], ids=["NUL", "half a character"])
async def test_a_note_that_no_database_takes_does_not_lose_the_state(jobs, stage, char):
    result = await jobs.report_with.aenqueue(f"a{char}b")
    await over(stage, result)
    row = await row_of(result)
    assert (row.status, row.done, row.note) == ("SUCCESSFUL", 1, "a?b")


async def test_outside_of_a_job_a_report_does_nothing(jobs):
    await progress(1, 2, "nobody listens")
    assert await jobs.report.func(3) == 3
    assert not await Job.objects.aexists()


@pytest.mark.parametrize(
    ("done", "total"), [(-1, None), (float("nan"), 3), (1, float("inf")), (1, -1)]
)
def test_numbers_that_cannot_be_are_refused(done, total):
    with pytest.raises(ValueError, match="must be a number, 0 or more"):
        progress(done, total)


async def test_a_backend_may_store_nothing(jobs, options, ended):
    options(store=False)
    result = await ended(await jobs.report.aenqueue(3))
    assert (await astate(result.id)).done == 3
    assert not await Job.objects.aexists()


async def test_what_another_process_stored_is_read_from_the_database(jobs, stage):
    result = await jobs.report.aenqueue(3)
    await over(stage, result)
    here = await astate(result.id)
    results.results_of("default").discard(results.find(result.id))
    there = await astate(result.id)
    assert (there.done, there.note, there.status) == (here.done, here.note, here.status)
    assert there.public() == here.public()
    assert await astate("unknown") is None
