"""`async def` tasks, what Celery offers them, in a worker with Onloop's pool."""

from __future__ import annotations

import pytest
from celery import chain, chord, group

from tests.celery import tasks
from tests.celery.conftest import DEADLINE_S, Start, eventually
from tests.celery.gates import Gate
from tests.celery.workers import Worker
from tests.project.library.models import Author


def got(result):
    return result.get(timeout=DEADLINE_S)


def test_an_async_task_gives_its_result(worker: Worker) -> None:
    assert got(worker.send(tasks.add, 1, 2)) == 3


def test_a_task_of_the_app_runs_as_a_shared_one(worker: Worker) -> None:
    from tests.celery.app import twice

    assert got(worker.send(twice, 4)) == 8


def test_what_is_prefetched_is_bounded_and_the_rest_is_for_others(
    own_worker: Start, gate: Gate
) -> None:
    settings = {"worker_prefetch_multiplier": 1}
    worker = own_worker(concurrency=2, settings=settings)
    results = [worker.send(tasks.wait_late, str(gate)) for _ in range(6)]
    gate.wait_for(2)
    assert len(gate.unacked(worker.queue)) == 2
    own_worker(worker.queue, concurrency=2, settings=settings)
    gate.wait_for(4)
    assert len(gate.unacked(worker.queue)) == 4
    gate.open()
    for result in results:
        got(result)
    assert gate.noted("begun") == 6


def test_the_orm_waits_on_the_loop(worker: Worker) -> None:
    answer = got(worker.send(tasks.read, "in a worker"))
    assert (answer["name"], answer["where"]) == ("in a worker", "bridge")
    assert Author.objects.filter(name="in a worker").count() == 1


def test_an_exception_is_the_tasks_failure(worker: Worker) -> None:
    result = worker.send(tasks.fail, "told")
    with pytest.raises(ValueError, match="told"):
        got(result)
    assert result.state == "FAILURE"


def test_many_wait_at_once_on_one_loop(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(concurrency=200)
    results = [worker.send(tasks.wait, str(gate)) for _ in range(200)]
    gate.wait_for(200)
    assert gate.noted("left") == 0, "none has gone on before all were there"
    gate.open()
    answers = [got(result) for result in results]
    assert len({(answer["pid"], answer["loop"]) for answer in answers}) == 1


def test_tasks_wait_for_the_few_connections_of_the_pool(
    own_worker: Start, gate: Gate, database
) -> None:
    worker = own_worker(concurrency=100)
    names = [f"author {n}" for n in range(300)]
    results = [worker.send(tasks.read, name) for name in names]
    results += [worker.send(tasks.fail, "told") for _ in range(50)]
    assert [got(result)["name"] for result in results[:300]] == names
    assert len({result.get()["loop"] for result in results[:300]}) == 1
    for result in results[300:]:
        with pytest.raises(ValueError, match="told"):
            got(result)
    assert worker.stop() == 0


def test_each_task_sees_its_own_request(worker: Worker, gate: Gate) -> None:
    results = [worker.send(tasks.whoami, str(gate)) for _ in range(10)]
    gate.wait_for(10)
    gate.open()
    for result in results:
        assert set(got(result)) == {result.id}


def test_a_language_is_a_tasks_own(worker: Worker, gate: Gate) -> None:
    languages = ["de", "fr", "nl"] * 4
    results = [worker.send(tasks.speak, language, str(gate)) for language in languages]
    gate.wait_for(12)
    gate.open()
    assert [got(result) for result in results] == [["en", language] for language in languages]


def test_transactions_are_apart(worker: Worker, gate: Gate, writers: int) -> None:
    results = [
        worker.send(tasks.write, f"in a task {n}", str(gate), "fail" if n % 2 else "commit")
        for n in range(8)
    ]
    gate.wait_for(writers)
    assert not Author.objects.filter(name__startswith="in a task").exists()
    gate.open()
    for n, result in enumerate(results):
        if n % 2:
            with pytest.raises(ValueError, match="in a task"):
                got(result)
        else:
            assert 1 <= got(result) <= 4
    names = Author.objects.filter(name__startswith="in a task").values_list("name", flat=True)
    assert sorted(names) == [f"in a task {n}" for n in range(0, 8, 2)]


def test_a_task_is_tried_again(worker: Worker, gate: Gate) -> None:
    assert got(worker.send(tasks.retry_twice, str(gate))) == 2
    assert gate.noted("tried") == 3


def test_a_task_is_tried_again_by_itself(worker: Worker, gate: Gate) -> None:
    with pytest.raises(ValueError, match="again"):
        got(worker.send(tasks.retry_by_itself, str(gate)))
    assert gate.noted("tried") == 3


def test_chains_groups_and_chords(worker: Worker) -> None:
    def s(task, *args):
        return task.s(*args).set(queue=worker.queue)

    assert got(chain(s(tasks.add, 1, 2), s(tasks.add, 3))()) == 6
    assert got(group(s(tasks.add, n, n) for n in range(5))()) == [0, 2, 4, 6, 8]
    assert got(chord([s(tasks.add, n, n) for n in range(5)])(s(tasks.total))) == 20
    nested = chain(s(tasks.add, 1, 1), group(s(tasks.add, n) for n in range(3)), s(tasks.total))
    assert got(nested()) == 9


def test_an_async_errback_is_run(worker: Worker, gate: Gate) -> None:
    result = worker.send(
        tasks.fail_at, kwargs={"gate": str(gate)}, link_error=tasks.note_error.s()
    )
    with pytest.raises(ValueError, match="gate"):
        got(result)
    gate.wait_for(1, "error")


def test_a_task_that_sends_others_is_their_parent(worker: Worker, gate: Gate) -> None:
    sender = worker.send(tasks.send_on, str(gate), worker.queue)
    got(sender)
    for what, count in {
        "at once": 1,
        "from a child": 1,
        "in a group": 3,
        "on commit": 1,
    }.items():
        gate.wait_for(count, f"{what} of {sender.id}")


def test_many_groups_at_once_do_not_wait_for_one_another(worker: Worker) -> None:
    """More than the broker has connections for."""
    assert len(set(got(worker.send(tasks.send_many, worker.queue)))) == 300


def test_a_worker_that_sends_events(own_worker: Start, gate: Gate) -> None:
    worker = own_worker(arguments=("-E",))
    results = [worker.send(tasks.wait, str(gate)) for _ in range(20)]
    gate.wait_for(20)
    gate.open()
    assert len({got(result)["loop"] for result in results}) == 1
    with pytest.raises(ValueError, match="told"):
        got(worker.send(tasks.fail, "told"))
    assert worker.stop() == 0


def test_a_task_that_cancels_itself_fails(worker: Worker) -> None:
    with pytest.raises(Exception, match="nobody had revoked it"):
        got(worker.send(tasks.cancels_itself))


def test_a_task_that_holds_the_loop_is_named(own_worker: Start) -> None:
    worker = own_worker()
    got(worker.send(tasks.hold))
    eventually(lambda: "Request: task tests.celery.tasks.hold." in worker.log_text())


def test_synchronous_tasks_run_in_threads(worker: Worker, gate: Gate) -> None:
    results = [worker.send(tasks.plain, str(gate)) for _ in range(5)]
    gate.wait_for(5)
    assert got(worker.send(tasks.add, 1, 2)) == 3, "the loop is free meanwhile"
    gate.open()
    answers = [got(result) for result in results]
    assert {answer["where"] for answer in answers} == {"sync"}
    assert len({answer["thread"] for answer in answers}) == 5


def test_a_synchronous_task_runs_on_the_loop_by_choice(worker: Worker) -> None:
    first, second = worker.send(tasks.plain_on_loop), worker.send(tasks.read, "elsewhere")
    answer = got(first)
    assert answer["where"] == "bridge"
    assert answer["loop"] == got(second)["loop"]


def test_a_synchronous_task_is_tried_again(worker: Worker, gate: Gate) -> None:
    assert got(worker.send(tasks.plain_retry, str(gate))) == 1
