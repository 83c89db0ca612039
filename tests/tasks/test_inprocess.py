"""Jobs in the process that enqueued them: where they run, and what their results say."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone, translation

import onloop
from onloop import bridge
from onloop.tasks import QueueFull, home, owned_by
from onloop.tasks.framework import (
    TaskResultDoesNotExist,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from tests.project.library.models import Author


async def test_functions_of_both_kinds_return_their_values(jobs, ended):
    for task in (jobs.add, jobs.aadd):
        result = await task.aenqueue(1, b=2)
        assert str(result.status) == "READY"
        await ended(result)
        assert result.return_value == 3
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.attempts == 1


async def test_each_function_runs_where_a_view_of_its_kind_would(jobs, ended):
    written = await ended(await jobs.write.aenqueue("a"))
    in_thread = await ended(await jobs.write_in_thread.aenqueue("b"))
    on_loop = await ended(await jobs.write_on_loop.aenqueue("c"))

    assert written.return_value == 1
    assert in_thread.return_value == [False, "thread"]
    assert on_loop.return_value == "bridge"
    assert await Author.objects.acount() == 3


async def test_a_setting_sends_a_function_to_the_loop(jobs, ended, settings_of_onloop):
    settings_of_onloop(ON_LOOP=["tests.tasks.jobs.write_in_thread"])
    result = await ended(await jobs.write_in_thread.aenqueue("a"))
    assert result.return_value == [True, "bridge"]


async def test_an_error_is_kept_with_its_class_and_traceback(jobs, ended):
    result = await ended(await jobs.fail.aenqueue("no such book"))
    (error,) = result.errors

    assert str(result.status) == "FAILED"
    assert error.exception_class is LookupError
    assert "no such book" in error.traceback
    assert "in fail" in error.traceback


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [("exit_", [1], SystemExit), ("unsayable", [], TypeError), ("add", [1], TypeError)],
)
async def test_what_cannot_be_returned_or_called_fails_its_job_only(
    jobs, ended, name, args, error
):
    result = await ended(await getattr(jobs, name).aenqueue(*args))
    assert result.errors[0].exception_class is error
    assert (await ended(await jobs.add.aenqueue(1, 1))).return_value == 2


async def test_a_job_is_told_its_context(jobs, ended):
    result = await ended(await jobs.in_context.aenqueue("word"))
    assert result.return_value == [result.id, 1, "RUNNING", "word"]


async def test_signals_are_sent_in_order_with_the_status_of_that_moment(jobs, ended):
    told = []

    def receive(signal, sender, task_result, **kwargs):
        told.append((sender.__name__, str(task_result.status), onloop.where()))

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(receive)
    try:
        await ended(await jobs.add.aenqueue(1, 2))
        await ended(await jobs.fail.aenqueue(""))
    finally:
        for signal in (task_enqueued, task_started, task_finished):
            signal.disconnect(receive)

    assert {(sender, where) for sender, _, where in told} == {("InProcessBackend", "bridge")}
    assert [status for _, status, _ in told] == [
        *("READY", "RUNNING", "SUCCESSFUL"),
        *("READY", "RUNNING", "FAILED"),
    ]


async def test_nothing_of_who_enqueued_it_is_the_job_s(jobs, ended):
    with translation.override("de"):
        result = await jobs.language.aenqueue()
    async with transaction.atomic():
        inside = await jobs.stands_in_a_block.aenqueue()
        await ended(inside)

    assert (await ended(result)).return_value == "en"
    assert inside.return_value is False


async def test_a_rollback_of_who_enqueued_it_does_not_touch_the_job(jobs, ended, pytestconfig):
    with pytest.raises(ZeroDivisionError):
        async with transaction.atomic():
            result = await jobs.write.aenqueue("kept")
            if pytestconfig.getoption("db") == "postgresql":  # SQLite has one writer
                await ended(result)
            raise ZeroDivisionError
    await ended(result)
    assert await Author.objects.filter(name="kept").aexists()


async def test_a_job_is_enqueued_when_a_transaction_is_committed(jobs, ended):
    results = []
    async with transaction.atomic():
        author = await Author.objects.acreate(name="first")
        transaction.on_commit(lambda: results.append(jobs.add.enqueue(author.pk, 0)))
        assert not results
    assert (await ended(results[0])).return_value == author.pk


async def test_a_thread_enqueues_to_the_loop_that_waits_for_it(jobs, ended):
    async with onloop.scope():
        result = await asyncio.to_thread(jobs.write_on_loop.enqueue, "from a thread")
    await ended(result)
    assert home.loop_for_jobs() is asyncio.get_running_loop()
    assert "onloop-tasks" not in {thread.name for thread in threading.enumerate()}


async def test_bare_coroutines_may_enqueue_by_the_plain_call(jobs, ended):
    result = jobs.aadd.enqueue(1, 2)
    assert (await ended(result)).return_value == 3


async def test_no_more_run_at_once_than_is_said(jobs, options, stage, ended):
    options(max_running=3)
    results = [await jobs.hold.aenqueue(number) for number in range(8)]
    await stage.until(lambda: stage.running == 3)
    stage.go.set()
    for result in results:
        await ended(result)
    assert stage.most == 3
    assert stage.seen == list(range(8))


async def test_one_too_many_is_refused_and_leaves_nothing(jobs, options, stage, ended):
    options(max_running=1, max_queued=2)
    results = [await jobs.hold.aenqueue(number) for number in range(3)]
    known = len(task_backends["default"]._results)
    with pytest.raises(QueueFull, match="max_running is 1 and max_queued 2"):
        await jobs.hold.aenqueue(3)
    assert len(task_backends["default"]._results) == known

    stage.go.set()
    for result in results:
        await ended(result)
    await ended(await jobs.hold.aenqueue(4))
    assert stage.seen == [0, 1, 2, 4]


async def test_a_receiver_that_fails_leaves_no_job_and_no_place_taken(jobs, options, ended):
    options(max_running=1, max_queued=0)

    def receive(**kwargs):
        raise ZeroDivisionError

    task_enqueued.connect(receive)
    try:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await jobs.note.aenqueue("never")
    finally:
        task_enqueued.disconnect(receive)
    await ended(await jobs.note.aenqueue("now"))
    assert jobs.stage.seen == ["now"]


async def test_higher_priorities_come_first_and_equals_in_order(jobs, options, stage, ended):
    options(max_running=1)
    await jobs.hold.aenqueue("first")
    await stage.until(lambda: stage.running)
    results = [
        await jobs.note.using(priority=priority).aenqueue([priority, number])
        for number, priority in enumerate((0, -5, 10, 0, 10))
    ]
    stage.go.set()
    for result in results:
        await ended(result)
    assert stage.seen == ["first", [10, 2], [10, 4], [0, 0], [0, 3], [-5, 1]]


async def test_a_delayed_job_holds_up_nobody(jobs, stage, ended):
    far = timezone.now() + timedelta(days=400)
    await jobs.note.using(run_after=far, priority=100).aenqueue("never")
    await ended(await jobs.note.aenqueue("now"))
    assert stage.seen == ["now"]


async def test_a_delayed_job_waits_for_its_time(jobs, ended):
    soon = timezone.now() + timedelta(seconds=0.5)
    later = await ended(await jobs.note.using(run_after=soon).aenqueue("later"))
    assert later.started_at >= soon


async def test_jobs_enqueue_jobs(jobs, stage, ended):
    await ended(await jobs.enqueues.aenqueue("from a job"))
    await stage.until(lambda: stage.seen == ["from a job"])


async def test_results_are_copies_and_known_by_their_id(jobs, ended):
    result = await jobs.add.aenqueue(1, 2)
    again = await jobs.add.aget_result(result.id)
    assert again is not result
    assert again.args == [1, 2]
    await ended(again)
    assert str(result.status) == "READY"
    with pytest.raises(TaskResultDoesNotExist):
        jobs.add.get_result("unknown")


async def test_results_are_kept_in_bounds(jobs, options, ended):
    options(max_results=2)
    results = [await ended(await jobs.add.aenqueue(number, 0)) for number in range(3)]
    with pytest.raises(TaskResultDoesNotExist):
        await results[0].arefresh()
    await results[1].arefresh()

    options(result_ttl_s=0)
    with pytest.raises(TaskResultDoesNotExist):
        await results[2].arefresh()


async def test_results_of_jobs_that_go_on_are_kept_whatever_ends(jobs, options, stage, ended):
    options(max_results=0, result_ttl_s=0)
    held = await jobs.hold.aenqueue()
    done = await jobs.add.aenqueue(1, 1)
    await stage.until(lambda: task_backends["default"]._results.find(done.id) is None)
    await held.arefresh()
    assert str(held.status) == "RUNNING"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_runing": 3}, "Unknown names .* max_runing. Known are: drain_s, max_queued"),
        ({"max_running": 0}, "1 or more"),
        ({"max_queued": 1.5}, "a whole number"),
        ({"drain_s": -1}, "a number of seconds, 0 or more"),
        ({"store": 1}, "True or False"),
    ],
)
def test_options_that_cannot_be_are_named(options, given, words):
    options(**given)
    with pytest.raises(ImproperlyConfigured, match=words):
        task_backends["default"]


async def test_arguments_that_json_cannot_say_are_refused_at_once(jobs):
    with pytest.raises(TypeError):
        await jobs.add.aenqueue(object(), 1)


async def test_whose_a_job_is_does_not_leak_into_its_own(jobs, ended):
    from onloop.tasks import astate

    with owned_by(7):
        await ended(await jobs.enqueues.aenqueue("x"))
        mine = await jobs.add.aenqueue(1, 1)
    other = await bridge.run(jobs.add.enqueue, 1, 1)
    assert (await astate(mine.id)).owner_id == 7
    assert (await astate(other.id)).owner_id is None
