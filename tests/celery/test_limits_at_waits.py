"""A soft time limit at each place where a task can wait: cancellation and exception."""

from __future__ import annotations

import asyncio

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from onloop import bridge
from onloop.asgi.unit import in_unit
from onloop.celery.errors import SelfCancelled, SoftLimit
from onloop.celery.execution import Execution, Interruptible, awaited, current
from tests.asgi.conftest import borrowed
from tests.project.library.models import Author


class Run:
    """One run of a task's code, as a worker has it; `step` lets it wait `steps` times."""

    def __init__(self, function):
        self.execution = Execution()
        self.waits = 0

        async def serve():
            current.set(self.execution)
            return await bridge.run(in_unit, awaited, function)

        self.task = self.execution.task = asyncio.get_running_loop().create_task(
            Counted(Interruptible(serve(), self.execution), self)
        )


class Counted(Interruptible):
    """Calls `run.at_wait` whenever the coroutine waits for something."""

    def __init__(self, coro, run):
        self._coro, self._run = coro, run
        self.__name__ = self.__qualname__ = "counted"

    def send(self, value):
        return self._count(self._coro.send(value))

    def throw(self, *exc):
        return self._count(self._coro.throw(*exc))

    def _count(self, out):
        self._run.waits += 1
        asyncio.get_running_loop().call_soon(self._run.at_wait, self._run.waits)
        return out


async def work(name):
    async with transaction.atomic():
        author = await Author.objects.acreate(name=name)
        async with transaction.atomic():
            author.name += " again"
            author.save()
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
    return await Author.objects.acount()


async def limited(name, number, interrupt):
    """Run `work` and interrupt it at its `number`th wait; tell whether it came so far."""
    run = Run(lambda: work(name))
    reached = False

    def at_wait(waits):
        nonlocal reached
        if waits == number:
            reached = True
            interrupt(run.execution)

    run.at_wait = at_wait
    try:
        await run.task
        ended = None
    except BaseException as exc:  # noqa: BLE001 - each is looked at
        ended = exc
    return reached, ended, run


@pytest.mark.parametrize("twice", [False, True])
async def test_a_soft_limit_anywhere_commits_or_rolls_back(db_clean, twice) -> None:
    def interrupt(execution):
        execution.limit(SoftLimit(1))
        if twice:
            execution.end()

    seen = set()
    for number in range(1, 100):
        reached, ended, run = await limited(f"author {number}", number, interrupt)
        if not reached:
            assert ended is None
            break
        seen.add(type(ended))
        there = await Author.objects.filter(name__startswith=f"author {number}").acount()
        assert ended is not None or there == 1
        assert borrowed() == {}, number
        assert not isinstance(ended, SoftLimit)
        if not twice:
            assert run.task.cancelling() == 0
        answer = await Author.objects.filter(name="nobody").acount()
        assert answer == 0, "the next statement works"
    else:
        pytest.fail("it never ended")
    assert number > 1, "there are some places where it waits"
    assert seen >= ({asyncio.CancelledError} if twice else {SoftTimeLimitExceeded})


@pytest.mark.only_on("postgresql")
async def test_a_query_that_a_limit_stops_ends_at_the_server(db_clean, pg_activity) -> None:
    async def sleep():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")

    run = Run(sleep)
    run.at_wait = lambda waits: None
    while not await asyncio.to_thread(pg_activity, "pg_sleep(600)", state="active"):
        await asyncio.sleep(0.01)
    run.execution.limit(SoftLimit(1))
    with pytest.raises(SoftTimeLimitExceeded):
        await run.task
    assert not await asyncio.to_thread(pg_activity, "pg_sleep(600)", state="active")


async def test_a_block_in_which_a_limit_was_swallowed_raises(db_clean) -> None:
    begun = asyncio.Event()

    async def swallow():
        async with transaction.atomic():
            await Author.objects.acreate(name="lost")
            try:
                async with transaction.atomic(savepoint=False):
                    begun.set()
                    await asyncio.sleep(600)
            except SoftTimeLimitExceeded:
                pass

    run = Run(swallow)
    run.at_wait = lambda waits: None
    await begun.wait()
    run.execution.limit(SoftLimit(1))
    with pytest.raises(transaction.TransactionManagementError, match="cancelled"):
        await run.task
    assert not await Author.objects.aexists()


async def test_a_limit_before_the_code_begins_is_raised_at_its_beginning() -> None:
    began = []

    async def code():
        began.append(1)

    run = Run(code)
    run.at_wait = lambda waits: None
    run.execution.limit(SoftLimit(1))
    with pytest.raises(SoftTimeLimitExceeded):
        await run.task
    assert not began


async def test_an_end_that_is_caught_is_told_again(monkeypatch) -> None:
    monkeypatch.setattr("onloop.celery.execution.AGAIN_S", 0.01)
    caught = []
    begun = asyncio.Event()

    async def stubborn():
        while len(caught) < 3:
            begun.set()
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError as exc:
                caught.append(exc)
        return "well"

    run = Run(stubborn)
    run.at_wait = lambda waits: None
    await begun.wait()
    run.execution.end()
    with pytest.raises(asyncio.CancelledError):
        await run.task
    assert len(caught) == 3


async def test_a_cancellation_of_its_own_is_an_error_that_says_so() -> None:
    async def code():
        raise asyncio.CancelledError

    run = Run(code)
    run.at_wait = lambda waits: None
    with pytest.raises(SelfCancelled, match="nobody had revoked it"):
        await run.task
