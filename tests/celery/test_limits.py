"""Time limits and revocation, in a worker with Onloop's pool."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from django.utils import timezone

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually, limited
from tests.celery.gates import Gate
from tests.celery.workers import APPLICATION_NAME, Worker
from tests.project.library.models import Author

# Limits and revocation are the worker's, whatever the database.
pytestmark = pytest.mark.only_on("postgresql")


def got(result):
    return result.get(timeout=DEADLINE_S)


def test_the_soft_limit_is_raised_where_the_task_waits(worker: Worker, gate: Gate) -> None:
    result = limited(worker, tasks.until_soft_limit, gate, "soft_time_limit", "waits")
    assert got(result) == "cleaned"
    assert Author.objects.filter(name=f"cleaned {gate}").exists()


def test_a_soft_limit_that_is_not_caught_is_a_failure(worker: Worker, gate: Gate) -> None:
    result = worker.send(tasks.ignore_soft_limit, str(gate), soft_time_limit=1)
    with pytest.raises(SoftTimeLimitExceeded):
        got(result)
    assert result.state == "FAILURE"


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_a_query_is_stopped_at_the_server(
    limit: str, worker: Worker, gate: Gate, pg_activity
) -> None:
    result = worker.send(tasks.query_until_limit, str(gate), **{limit: 1})
    with pytest.raises((SoftTimeLimitExceeded, TimeLimitExceeded)):
        got(result)
    eventually(lambda: not pg_activity("pg_sleep", state="active"))
    eventually(
        lambda: (
            {each.state for each in pg_activity(application_name=APPLICATION_NAME)} <= {"idle"}
        )
    )
    assert not Author.objects.filter(name__startswith="rolled back").exists()
    assert got(worker.send(tasks.add, 1, 2)) == 3


def test_the_hard_limit_cancels_and_rolls_back(worker: Worker, gate: Gate) -> None:
    result = limited(worker, tasks.rolls_back_slowly, gate, "time_limit", "ended")
    with pytest.raises(TimeLimitExceeded):
        got(result)
    assert gate.noted("ended") == 1
    assert not Author.objects.filter(name__startswith="rolled back").exists()


def test_a_task_that_is_running_is_revoked(worker: Worker, gate: Gate) -> None:
    result = worker.send(tasks.rolls_back_slowly, str(gate))
    gate.wait_for(1, "begun")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        got(result)
    gate.wait_for(1, "ended")
    assert not Author.objects.filter(name__startswith="rolled back").exists()


def test_without_terminate_a_running_task_goes_on(worker: Worker, gate: Gate) -> None:
    result = worker.send(tasks.wait, str(gate))
    gate.wait_for(1)
    # To this worker alone: others, which do not know the task, take it for one that waits.
    result.app.control.revoke(result.id, destination=[worker.name])
    eventually(lambda: f"flagged as revoked: {result.id}" in worker.log_text())
    gate.open()
    assert got(result)["where"] == "bridge"


def test_a_task_that_waits_for_a_slot_is_revoked(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(concurrency=1)
    first = worker.send(tasks.wait, str(gate))
    gate.wait_for(1)
    second = worker.send(tasks.wait_early, str(gate))
    eventually(lambda: f"{second.id}] received" in worker.log_text())
    second.revoke(terminate=True)
    eventually(lambda: second.id in worker.log_text().partition("Terminating")[2])
    gate.open()
    got(first)
    with pytest.raises(TaskRevokedError):
        got(second)
    assert got(worker.send(tasks.add, 1, 2)) == 3
    assert gate.noted("begun") == 0


def is_settled_as_revoked(result: Any, worker: Worker, gate: Gate) -> None:
    with pytest.raises(TaskRevokedError):
        got(result)
    eventually(lambda: result.id not in gate.unacked(worker.queue))


@pytest.mark.parametrize("task", [tasks.wait_early, tasks.plain], ids=["async", "sync"])
def test_a_task_that_waits_for_a_slot_is_revoked_without_terminate(
    task: Any, own_worker: Start, gate: Gate, other_gate: Gate
) -> None:
    worker = own_worker(concurrency=1)
    first = worker.send(tasks.wait, str(gate))
    gate.wait_for(1)
    second = worker.send(task, str(other_gate))
    eventually(lambda: f"{second.id}] received" in worker.log_text())
    second.revoke()
    eventually(lambda: f"flagged as revoked: {second.id}" in worker.log_text())
    gate.open()
    got(first)
    other_gate.open()
    is_settled_as_revoked(second, worker, gate)
    assert got(worker.send(tasks.add, 1, 2)) == 3
    assert other_gate.noted("here") == 0


def test_a_task_that_expires_while_it_waits_for_a_slot_does_not_run(
    own_worker: Start, gate: Gate, other_gate: Gate
) -> None:
    worker = own_worker(concurrency=1)
    first = worker.send(tasks.wait, str(gate))
    gate.wait_for(1)
    expires = timezone.now() + timedelta(seconds=3)
    second = worker.send(tasks.wait_early, str(other_gate), expires=expires)
    eventually(lambda: f"{second.id}] received" in worker.log_text())
    eventually(lambda: timezone.now() > expires)
    gate.open()
    got(first)
    other_gate.open()
    is_settled_as_revoked(second, worker, gate)
    assert other_gate.noted("here") == 0


def test_a_revoked_task_that_goes_on_does_not_succeed(worker: Worker, gate: Gate) -> None:
    result = worker.send(tasks.stubborn, str(gate))
    gate.wait_for(1, "begun")
    result.revoke(terminate=True)
    gate.wait_for(1, "cancelled")
    with pytest.raises(TaskRevokedError):
        got(result)
    assert got(worker.send(tasks.add, 1, 2)) == 3
    assert result.state == "REVOKED"
    assert f"stubborn[{result.id}] succeeded" not in worker.log_text()


def test_a_limit_of_a_task_in_a_thread_is_said_not_to_hold(worker: Worker) -> None:
    got(worker.send(tasks.plain, time_limit=60))
    assert "The time limits of task tests.celery.tasks.plain do not hold" in worker.log_text()


def test_a_rejected_task_is_gone(worker: Worker, gate: Gate) -> None:
    result = worker.send(tasks.reject_once, str(gate))
    gate.wait_for(1, "begun")
    eventually(lambda: result.id not in gate.unacked(worker.queue))
    assert got(worker.send(tasks.add, 1, 2)) == 3
