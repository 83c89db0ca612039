"""How the loop hears of an answer: one epoll for all of its connections."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

import onloop
from onloop import bridge
from onloop.db import ear
from onloop.db.backends.postgresql import connection as driver
from tests.database import TestDatabases, close_pools

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, anames, assert_all_back

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

BIG = 20_000_000


@pytest.fixture(params=["epoll", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each kind of ear, for connections that are opened in the test."""
    close_pools()
    if request.param == "plain":
        monkeypatch.setattr(driver, "ear_of", ear.PlainEar)
    yield
    close_pools()


@pytest.mark.usefixtures("kind")
async def test_an_answer_that_comes_in_many_pieces_is_heard_to_its_end() -> None:
    assert await afetch("SELECT length(repeat('x', %s))", [BIG]) == BIG
    assert len(await afetch("SELECT repeat('x', %s)", [BIG])) == BIG
    await assert_all_back()


@pytest.mark.usefixtures("kind")
async def test_a_statement_that_is_longer_than_a_socket_holds_is_sent_to_its_end() -> None:
    assert await afetch("SELECT length(%s)", ["x" * BIG]) == BIG
    await assert_all_back()


@pytest.mark.usefixtures("kind")
async def test_each_of_many_statements_at_once_hears_its_own_answer() -> None:
    numbers = range(40)
    asked = (afetch("SELECT %s::int FROM pg_sleep(%s)", [n, (n % 3) / 100]) for n in numbers)
    assert await asyncio.gather(*asked) == list(numbers)
    await assert_all_back()


@pytest.mark.usefixtures("kind")
async def test_what_was_cancelled_hears_no_answer_and_the_next_statement_its_own(
    gate: Gate,
) -> None:
    async with onloop.scope():
        pid = await abackend_pid()
        task = asyncio.create_task(afetch(gate.sql))
        await gate.until_waiting(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await afetch("SELECT 'next'") == "next"
        assert await abackend_pid() == pid
    await assert_all_back()


@pytest.mark.usefixtures("kind")
async def test_a_connection_whose_descriptor_had_another_one_before_is_heard() -> None:
    def ask_and_close() -> tuple[int, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            number, pid = connection.connection.fileno(), cursor.fetchone()[0]
        close_pools()
        return number, pid

    async with onloop.scope():
        found = [await bridge.run(ask_and_close) for _ in range(3)]
    assert len({number for number, _ in found}) == 1
    assert len({pid for _, pid in found}) == 3


@pytest.mark.usefixtures("kind")
async def test_a_server_that_goes_in_the_middle_of_a_statement_is_an_error(
    gate: Gate, db_clean: TestDatabases
) -> None:
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    with db_clean.connect() as outsider:
        outsider.execute("SELECT pg_terminate_backend(%s)", [backend.pid])
    with pytest.raises(OperationalError):
        await task
    assert await anames() == []
    await assert_all_back()


async def test_idle_connections_whose_server_hangs_up_do_not_keep_the_loop_busy(
    db_clean: TestDatabases, pg_activity: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = 0
    hear = ear.EpollEar._hear

    def counted(self: ear.EpollEar) -> None:
        nonlocal heard
        heard += 1
        hear(self)

    monkeypatch.setattr(ear.EpollEar, "_hear", counted)
    close_pools()
    pids = set(await asyncio.gather(*(abackend_pid() for _ in range(3))))
    with db_clean.connect() as outsider:
        for pid in pids:
            outsider.execute("SELECT pg_terminate_backend(%s)", [pid])
    await eventually(lambda: not pids & {backend.pid for backend in pg_activity()})
    before = heard
    for _ in range(100):
        await asyncio.sleep(0)
    assert heard == before
    assert not pids & {await abackend_pid()}
    await assert_all_back()


async def let_all_be_answered(gate: Gate, count: int) -> None:
    """Open the gate, and hold the loop until each statement's answer has been sent."""
    await gate.until_waiting(count)
    gate.open()
    deadline = time.monotonic() + 90
    while gate.unanswered():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("who", range(3))
def test_who_is_answered_beside_a_task_that_ends_the_loop_hears_it_when_the_loop_goes_on(
    bare_loop: asyncio.AbstractEventLoop, gate: Gate, who: int
) -> None:
    """Whichever of three answers, that are there in the same pass, is heard first."""

    async def ask(n: int) -> int:
        await afetch(gate.sql)
        if n == who:
            raise SystemExit
        return n

    async def ask_all() -> None:
        await let_all_be_answered(gate, 3)
        await asyncio.wait(tasks)

    tasks = [bare_loop.create_task(ask(n)) for n in range(3)]
    asked = bare_loop.create_task(ask_all())
    with pytest.raises(SystemExit):
        bare_loop.run_until_complete(asked)
    bare_loop.run_until_complete(asyncio.wait_for(asked, 10))
    assert {task.result() for task in tasks if task is not tasks[who]} == {0, 1, 2} - {who}
    with pytest.raises(SystemExit):
        tasks[who].result()
    close_pools()


async def test_a_task_that_is_cancelled_by_another_in_the_pass_of_both_answers_is_cancelled(
    gate: Gate,
) -> None:
    async def cancel_the_other() -> bool:
        await afetch(gate.sql)
        (other,) = set(tasks) - {asyncio.current_task()}
        return other.cancel()

    tasks = [asyncio.create_task(cancel_the_other()) for _ in range(2)]
    await let_all_be_answered(gate, 2)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert True in results
    assert [type(result) for result in results if result is not True] == [
        asyncio.CancelledError
    ]
    await assert_all_back()


def test_a_task_without_context_variables_goes_on_in_its_own_context(
    bare_loop: asyncio.AbstractEventLoop,
) -> None:
    """An empty context is false, and must not be taken for none."""
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number")

    async def ask() -> int:
        await afetch("SELECT 1")
        number.set(1)
        await afetch("SELECT 1")
        return number.get()

    context = contextvars.Context()
    assert bare_loop.run_until_complete(bare_loop.create_task(ask(), context=context)) == 1
    assert context[number] == 1
    close_pools()


async def test_who_drives_a_coroutine_by_hand_waits_for_a_query_as_for_any_future(
    gate: Gate,
) -> None:
    await anames()  # a connection is there
    query = afetch(gate.sql)
    future = query.send(None)
    await gate.until_waiting(1)
    _, pending = await asyncio.wait([future], timeout=0.01)
    assert pending == {future}
    gate.open()
    done, _ = await asyncio.wait([future])
    assert done == {future}
    assert future.exception() is None
    assert not future.cancelled()
    with pytest.raises(StopIteration):
        query.send(None)
    await assert_all_back()


def test_the_descriptor_of_an_ear_is_closed_with_its_loop(
    bare_loop: asyncio.AbstractEventLoop,
) -> None:
    def polls() -> list[str]:
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.append(str(entry.readlink()))
            except FileNotFoundError:
                pass  # the one that the list was read through
        return [target for target in found if target == "anon_inode:[eventpoll]"]

    gc.collect()
    before = len(polls())
    bare_loop.run_until_complete(anames())
    assert len(polls()) == before + 1
    assert len(ear.descriptors()) >= 1
    close_pools()
    bare_loop.close()
    gc.collect()
    assert len(polls()) < before  # the loop's own is gone too


def test_a_forked_child_does_not_touch_its_parents_epoll(
    bare_loop: asyncio.AbstractEventLoop,
) -> None:
    bare_loop.run_until_complete(anames())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(anames())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bare_loop.run_until_complete(anames()) == []
    close_pools()
