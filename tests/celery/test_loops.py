"""The loop of a worker: uvloop where the project says so; what is ready before its tasks."""

from __future__ import annotations

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import TaskRevokedError

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually
from tests.celery.gates import Gate
from tests.http.conftest import upstream  # noqa: F401 - a fixture
from tests.project.library.models import Author

UVLOOP = {"ONLOOP_TEST_LOOP": "uvloop"}


def got(result):
    return result.get(timeout=DEADLINE_S)


@pytest.mark.parametrize("pool", ["custom", "prefork", "threads", "solo"])
def test_a_worker_runs_on_uvloop_if_its_policy_says_so(
    pool: str, own_worker: Start, gate: Gate
) -> None:
    gate.open()
    worker = own_worker(pool=pool, concurrency=2, env=UVLOOP)
    answers = [got(worker.send(tasks.wait, str(gate))) for _ in range(4)]
    assert {answer["kind"] for answer in answers} == {"uvloop"}
    assert got(worker.send(tasks.read, "by name"))["name"] == "by name"
    assert worker.stop() == 0


def test_on_uvloop_many_wait_at_once_are_limited_and_revoked(
    own_worker: Start, gate: Gate, other_gate: Gate, writers: int
) -> None:
    worker = own_worker(concurrency=50, env=UVLOOP)
    limited = worker.send(tasks.ignore_soft_limit, str(gate), soft_time_limit=1)
    revoked = worker.send(tasks.rolls_back_slowly, str(gate))
    gate.wait_for(2, "begun")
    with pytest.raises(SoftTimeLimitExceeded):
        got(limited)
    revoked.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        got(revoked)
    eventually(lambda: gate.noted("ended") == 1)
    assert not Author.objects.exists()
    waiting = [worker.send(tasks.wait, str(other_gate)) for _ in range(40)]
    other_gate.wait_for(40)
    other_gate.open()
    assert len({got(each)["loop"] for each in waiting}) == 1
    written = [worker.send(tasks.write, f"in a task {n}", str(other_gate)) for n in range(8)]
    for each in written:
        got(each)
    assert Author.objects.count() == 8
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["custom", "prefork"])
def test_a_worker_reads_certificates_before_the_first_task(
    pool: str,
    own_worker: Start,
    upstream,  # noqa: F811
) -> None:
    worker = own_worker(pool=pool, concurrency=1, settings={"imports": ["tests.celery.asking"]})
    from tests.celery.app import app

    told = app.send_task("tests.celery.asking.ask", [f"{upstream.url}/ok"], queue=worker.queue)
    assert got(told) == [1, True, "ok", 1]
    assert worker.stop() == 0
