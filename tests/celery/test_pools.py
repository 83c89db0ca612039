"""`async def` tasks in Celery's own pools: one at a time for each slot, on one loop."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually, limited
from tests.celery.gates import Gate
from tests.project.library.models import Author

# The pools are Celery's, whatever the database.
pytestmark = pytest.mark.only_on("postgresql")

POOLS = ["prefork", "threads", "solo"]


def got(result):
    return result.get(timeout=DEADLINE_S)


@pytest.mark.parametrize("pool", POOLS)
def test_a_process_has_one_loop(pool: str, worker_of: Start, gate: Gate) -> None:
    worker = worker_of(pool, 2)
    gate.open()
    answers = [got(worker.send(tasks.wait, str(gate))) for _ in range(10)]
    by_process = {answer["pid"]: set() for answer in answers}
    for answer in answers:
        by_process[answer["pid"]].add(answer["loop"])
    assert all(len(loops) == 1 for loops in by_process.values())
    assert {answer["where"] for answer in answers} == {"bridge"}


@pytest.mark.parametrize("pool", POOLS)
def test_requests_retries_and_the_orm(pool: str, worker_of: Start, gate: Gate) -> None:
    worker = worker_of(pool, 2)
    gate.open()
    seen = worker.send(tasks.whoami, str(gate))
    assert set(got(seen)) == {seen.id}
    assert got(worker.send(tasks.retry_twice, str(gate))) == 2
    assert got(worker.send(tasks.read, "by name"))["name"] == "by name"
    with pytest.raises(ValueError, match="in a task"):
        got(worker.send(tasks.write, "in a task", str(gate), "fail"))
    assert not Author.objects.filter(name="in a task").exists()
    assert got(worker.send(tasks.plain))["where"] == "sync"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_slot_has_one_task_at_a_time(pool: str, worker_of: Start, gate: Gate) -> None:
    worker = worker_of(pool, 2)
    results = [worker.send(tasks.wait, str(gate)) for _ in range(3)]
    gate.wait_for(2)
    gate.open()
    for result in results:
        got(result)


def test_the_soft_limit_in_a_prefork_worker(worker_of: Start, gate: Gate) -> None:
    worker = worker_of("prefork", 2)
    result = limited(worker, tasks.until_soft_limit, gate, "soft_time_limit", "waits")
    assert got(result) == "cleaned"
    assert Author.objects.filter(name=f"cleaned {gate}").exists()
    with pytest.raises(SoftTimeLimitExceeded):
        got(worker.send(tasks.ignore_soft_limit, str(gate), soft_time_limit=1))


def test_the_hard_limit_kills_a_prefork_process(worker_of: Start, gate: Gate) -> None:
    worker = worker_of("prefork", 2)
    with pytest.raises(TimeLimitExceeded):
        got(worker.send(tasks.rolls_back_slowly, str(gate), time_limit=1))
    eventually(lambda: not Author.objects.filter(name__startswith="rolled back").exists())
    gate.open()
    assert got(worker.send(tasks.wait, str(gate)))["where"] == "bridge"


def test_revoking_ends_a_prefork_process(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(pool="prefork", concurrency=1)
    result = worker.send(tasks.rolls_back_slowly, str(gate))
    gate.wait_for(1, "begun")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        got(result)
    assert got(worker.send(tasks.add, 1, 2)) == 3
    eventually(lambda: not Author.objects.filter(name__startswith="rolled back").exists())
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_an_async_errback_is_run(pool: str, worker_of: Start, gate: Gate) -> None:
    worker = worker_of(pool, 2)
    result = worker.send(
        tasks.fail_at, kwargs={"gate": str(gate)}, link_error=tasks.note_error.s()
    )
    with pytest.raises(ValueError, match="gate"):
        got(result)
    gate.wait_for(1, "error")
