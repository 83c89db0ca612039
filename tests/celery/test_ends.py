"""How workers end, and what becomes of the tasks that they had."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually
from tests.celery.gates import Gate
from tests.celery.workers import APPLICATION_NAME, Worker
from tests.project.library.models import Author

WARM, COLD = signal.SIGTERM, signal.SIGQUIT


def got(result):
    return result.get(timeout=DEADLINE_S)


def begin_warm(worker: Worker) -> None:
    """Returns when it takes no more tasks."""
    worker.signal(WARM)
    eventually(lambda: "The worker stops" in worker.log_text())


def test_a_warm_shutdown_waits_for_tasks(own_worker: Start, gate: Gate, writers: int) -> None:
    worker = own_worker()
    results = [worker.send(tasks.write, f"in a task {n}", str(gate)) for n in range(5)]
    gate.wait_for(min(5, writers))
    eventually(lambda: worker.log_text().count("received") == 5)
    begin_warm(worker)
    gate.open()
    assert worker.wait() == 0
    assert [result.state for result in results] == ["SUCCESS"] * 5
    assert Author.objects.filter(name__startswith="in a task").count() == 5


def test_what_has_not_begun_is_left_to_another_worker(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(concurrency=2)
    results = [worker.send(tasks.wait_late, str(gate)) for _ in range(6)]
    gate.wait_for(2)
    begin_warm(worker)
    gate.open()
    assert worker.wait() == 0
    assert gate.noted("begun") == 2
    own_worker(worker.queue)
    for result in results:
        got(result)
    assert gate.noted("begun") == 6, "each ran once"


def test_a_finished_task_is_acknowledged_while_others_hold_the_shutdown_up(
    own_worker: Start, gate: Gate, other_gate: Gate
) -> None:
    worker = own_worker()
    first = worker.send(tasks.wait_late, str(gate))
    second = worker.send(tasks.wait_late, str(other_gate))
    gate.wait_for(1)
    other_gate.wait_for(1)
    begin_warm(worker)
    gate.open()
    got(first)
    eventually(lambda: gate.unacked(worker.queue) == {second.id})
    worker.kill()
    other_gate.open()
    gate.make_overdue()
    own_worker(worker.queue)
    got(second)
    assert (gate.noted("begun"), other_gate.noted("begun")) == (1, 2)


@pytest.mark.only_on("postgresql")  # with two transactions that write
def test_a_cold_shutdown_rolls_back_and_late_tasks_run_again(
    own_worker: Start, gate: Gate
) -> None:
    worker = own_worker()
    late = worker.send(tasks.write_late, "late", str(gate))
    early = worker.send(tasks.rolls_back_slowly, str(gate))
    gate.wait_for(1)
    gate.wait_for(2, "begun")
    worker.signal(COLD)
    worker.wait()
    assert gate.noted("ended") == 1, "it was cancelled, and its `finally` was run"
    assert not Author.objects.exists(), "both are rolled back"
    gate.open()
    own_worker(worker.queue)
    got(late)
    assert Author.objects.get().name == "late"
    assert gate.noted("begun") == 3, "the late one twice, the early one once"
    assert early.state == "RETRY"  # as Celery says of what it had acknowledged


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("task", [tasks.plain, tasks.plain_late], ids=["early", "late"])
def test_a_cold_shutdown_waits_for_a_synchronous_task(
    task: Any, own_worker: Start, gate: Gate
) -> None:
    worker = own_worker()
    result = worker.send(task, str(gate))
    gate.wait_for(1)
    worker.signal(COLD)
    eventually(lambda: "goes on to its end" in worker.log_text())
    gate.open()
    worker.wait()
    assert result.state == "SUCCESS"
    assert not gate.unacked(worker.queue)
    assert got(own_worker(worker.queue).send(tasks.add, 1, 2)) == 3
    assert gate.noted("left") == 1


def test_a_killed_worker_runs_late_tasks_again_and_others_not(
    own_worker: Start, gate: Gate, other_gate: Gate, writers: int
) -> None:
    worker = own_worker()
    late = [worker.send(tasks.write_late, f"late {n}", str(gate)) for n in range(3)]
    early = [worker.send(tasks.wait_early, str(other_gate)) for _ in range(3)]
    gate.wait_for(3, "begun")
    gate.wait_for(min(3, writers))
    other_gate.wait_for(3)
    eventually(lambda: gate.unacked(worker.queue) == {result.id for result in late})
    worker.kill()
    eventually(lambda: not Author.objects.exists())
    gate.open()
    other_gate.open()
    gate.make_overdue()
    again = own_worker(worker.queue)
    for result in late:
        got(result)
    assert sorted(Author.objects.values_list("name", flat=True)) == [
        "late 0",
        "late 1",
        "late 2",
    ]
    assert gate.noted("begun") == 6
    assert again.stop() == 0
    assert other_gate.noted("begun") == 3
    assert [result.state for result in early] == ["PENDING"] * 3


def test_a_worker_that_loses_the_broker_goes_on(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(concurrency=1)
    first = worker.send(tasks.wait_without_redis, str(gate))
    eventually(lambda: Author.objects.filter(name=f"begun {gate}").exists())
    second = worker.send(tasks.wait_late, str(gate))
    eventually(lambda: f"{second.id}] received" in worker.log_text())
    gate.cut_connections(worker.process.pid)
    eventually(lambda: "Connection to broker lost" in worker.log_text())
    eventually(lambda: worker.log_text().count(f"{second.id}] received") == 2)
    gate.open()
    Author.objects.create(name=f"go {gate}")
    got(first)
    got(second)
    got(worker.send(tasks.add, 1, 2))  # after whatever waited for the one slot
    assert gate.noted("begun") == 1
    assert Author.objects.filter(name__startswith="begun").count() == 1
    assert worker.stop() == 0


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("pool", ["custom", "prefork", "threads", "solo"])
def test_no_connection_is_left(pool: str, own_worker: Start, pg_activity, gate: Gate) -> None:
    worker = own_worker(pool=pool, concurrency=4)
    gate.open()
    results = [worker.send(tasks.write, f"in a task {n}", str(gate)) for n in range(12)]
    results += [worker.send(tasks.plain) for _ in range(6)]
    for result in results:
        got(result)
    idle = pg_activity(application_name=APPLICATION_NAME)
    assert not [each for each in idle if each.state != "idle"]
    assert worker.stop() == 0
    eventually(lambda: not pg_activity(application_name=APPLICATION_NAME))
