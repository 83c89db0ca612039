"""Tasks that are called as functions, or eagerly: in tests, in views, from a running loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from celery import chain, group, shared_task
from celery.signals import before_task_publish, task_postrun, task_prerun
from django.db import transaction

import onloop
from onloop import bridge
from onloop.celery import hops, loops
from onloop.celery.stacks import ContextStack
from tests.celery.tasks import add, plain, total
from tests.project.library.models import Author


@shared_task(bind=True)
async def rename(self, pk, name):
    """In the caller's transaction, or it would not find the author."""
    author = await Author.objects.aget(pk=pk)
    author.name = name
    await author.asave()
    return [onloop.where(), self.request.is_eager, self.request.id is not None]


@shared_task(bind=True, max_retries=5)
async def retried(self):
    if self.request.retries < 3:
        raise self.retry()
    return self.request.retries


@shared_task(bind=True)
async def called(self, x):
    await asyncio.sleep(0)
    return [self.request.called_directly, x]


@pytest.fixture
def eager(broker: str):
    from tests.celery.app import app

    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    yield
    app.conf.update(task_always_eager=False, task_eager_propagates=False)


def in_a_block():
    with transaction.atomic():
        author = Author.objects.create(name="before")
        told = rename.delay(author.pk, "after").get()
        author.refresh_from_db()
        transaction.set_rollback(True)
    return author.name, told


def test_eager_in_plain_code_it_is_in_the_callers_transaction(db_clean, eager) -> None:
    assert in_a_block() == ("after", ["bridge", True, True])
    assert not Author.objects.exists()


async def test_eager_in_a_scope_it_is_in_the_callers_transaction(db_clean, eager) -> None:
    async with onloop.scope():
        assert await bridge.run(in_a_block) == ("after", ["bridge", True, True])
        assert not await Author.objects.aexists()


async def test_eager_on_a_bare_loop_it_runs_on_the_loop_of_the_process(db_clean, eager) -> None:
    author = await Author.objects.acreate(name="before")
    told = rename.delay(author.pk, "after").get()
    assert told == ["bridge", True, True]
    await author.arefresh_from_db()
    assert author.name == "after"
    await asyncio.to_thread(loops.close_worker_loop)


@pytest.mark.parametrize("way", ["plain", "scope"])
def test_retries_chains_and_groups_are_eager_too(eager, way: str) -> None:
    add.app.conf.task_eager_propagates = False  # else Celery raises `Retry`

    def calls():
        return (
            retried.delay().get(),
            chain(add.s(1, 2), add.s(3))().get(),
            (group(add.s(n, n) for n in range(3)) | total.s())().get(),
        )

    async def in_scope():
        async with onloop.scope():
            return await bridge.run(calls)

    assert (calls() if way == "plain" else async_to_sync(in_scope)()) == (3, 6, 6)


async def test_called_as_a_function_it_is_awaited(broker: str) -> None:
    assert await add(1, 2) == 3
    assert await called(5) == [True, 5]
    assert called.request.id is None


def test_a_synchronous_task_is_called_as_ever(broker: str, db_clean) -> None:
    assert plain()["where"] == "sync"


def test_signals_are_sent_once(eager) -> None:
    seen = []

    def note(signal, sender, **kwargs):
        seen.append((signal is task_prerun, sender.name))

    task_prerun.connect(note)
    task_postrun.connect(note)
    try:
        add.delay(1, 2)
    finally:
        task_prerun.disconnect(note)
        task_postrun.disconnect(note)
    assert seen == [(True, add.name), (False, add.name)]


# --- sending ----------------------------------------------------------------------------------


_published: list[threading.Thread] = []


@before_task_publish.connect  # for good: Celery 5.5 looks at the first list of receivers
def _note_thread(**kwargs):
    _published.append(threading.current_thread())


@pytest.fixture
def published():
    """The threads in which messages were sent."""
    _published.clear()
    return _published


async def test_what_is_sent_from_a_bridge_does_not_hold_the_loop(
    broker: str, published
) -> None:
    def send():
        add.apply_async((1, 2), queue="nobody")
        group(add.s(n, n).set(queue="nobody") for n in range(3)).apply_async()

    async with onloop.scope():
        await bridge.run(send)
    assert len(published) == 4
    assert threading.main_thread() not in published


def test_what_is_sent_from_plain_code_is_sent_there(broker: str, published) -> None:
    add.apply_async((1, 2), queue="nobody")
    assert published == [threading.main_thread()]


async def test_on_commit_and_never_before(broker: str, db_clean, published) -> None:
    async with transaction.atomic():
        await bridge.run(lambda: add.apply_async_on_commit((1, 2), queue="nobody"))
        await Author.objects.acreate(name="committed")
        assert not published
    assert len(published) == 1


async def test_a_cancelled_hop_waits_for_its_thread(broker: str) -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        assert go.wait(90)
        done.append(1)

    task = asyncio.create_task(bridge.run(hops.hop, slow))
    while not begun.is_set():
        await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


async def test_a_hop_leaves_no_connection_and_keeps_the_block(db_clean) -> None:
    seen = []

    def look():
        seen.append(Author.objects.filter(name="in the block").count())

    async with transaction.atomic():
        await Author.objects.acreate(name="in the block")
        await bridge.run(hops.hop, look)
        await Author.objects.acreate(name="after the hop")
    await bridge.run(hops.hop, look)
    assert seen == [1, 1]
    assert await Author.objects.acount() == 2


async def test_what_a_child_pushes_is_its_own() -> None:
    stack = ContextStack("test")
    stack.push("parent")

    async def child(name):
        stack.push(name)
        await asyncio.sleep(0)
        assert (stack.top, stack.stack, len(stack)) == (name, ["parent", name], 2)

    await asyncio.gather(child("one"), child("two"))
    assert stack.pop() == "parent"
    assert (stack.pop(), stack.top, len(stack)) == (None, None, 0)


async def test_a_result_that_goes_does_not_wait_in_its_finaliser(broker) -> None:
    def forget() -> str:
        add.AsyncResult("unknown")
        return "gone"

    running = bridge.run(forget)
    with pytest.raises(StopIteration) as ended:
        running.send(None)  # to its end, without a wait
    assert ended.value.value == "gone"
