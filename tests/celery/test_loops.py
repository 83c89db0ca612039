"""The loop of a worker: uvloop where the project says so; what is ready before its tasks."""

from __future__ import annotations

import json

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import TaskRevokedError

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually
from tests.celery.gates import Gate
from tests.http.conftest import upstream  # noqa: F401 - a fixture
from tests.postgres import ServerFailed
from tests.project.library.models import Author

HOOKS = "tests.celery.hooks"
UVLOOP = {"ONLOOP_TEST_LOOP": "uvloop"}


def got(result):
    return result.get(timeout=DEADLINE_S)


@pytest.mark.parametrize("pool", ["custom", "prefork", "threads"])
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
    assert upstream.connections == 1
    assert worker.stop() == 0
    eventually(lambda: upstream.connections == 0)


def with_hook(name):
    return {"ONLOOP_TEST_ONLOOP": json.dumps({"LIFESPAN": [f"{HOOKS}.{name}"], "STALL_MS": 0})}


@pytest.mark.parametrize("pool", ["custom", "prefork", "threads"])
def test_hooks_of_the_lifespan_are_around_the_tasks_of_a_worker(
    pool: str, own_worker: Start, gate: Gate
) -> None:
    hooks = Gate(gate._server, "hooks")
    gate._server.delete("hooks")
    worker = own_worker(pool=pool, concurrency=1, env=with_hook("index"))
    for _ in range(3):
        entered, pid = got(worker.send(tasks.hooked))
        assert entered == [pid]
    assert (hooks.noted("entered"), hooks.noted("left")) == (1, 0)
    assert worker.stop() == 0
    assert (hooks.noted("entered"), hooks.noted("left")) == (1, 1)


def test_a_worker_whose_hook_fails_does_not_start(own_worker: Start) -> None:
    with pytest.raises(ServerFailed, match="StartFailed") as failed:
        own_worker(env=with_hook("fails"))
    assert "ZeroDivisionError: no index" in str(failed.value)


def test_in_a_prefork_worker_a_task_says_that_a_hook_failed(own_worker: Start) -> None:
    worker = own_worker(pool="prefork", concurrency=1, env=with_hook("fails"))
    for _ in range(2):
        with pytest.raises(Exception, match="no index"):
            got(worker.send(tasks.hooked))
    assert worker.stop() == 0
