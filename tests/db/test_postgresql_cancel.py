"""PostgreSQL: a cancelled query over a network that fails, and other ways to be cut short.

Whatever happens, the task gets its cancellation within the bounds, a connection in doubt is
closed, and its place in the pool is free.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from psycopg._capabilities import capabilities

from onloop import bridge
from onloop.db.backends.postgresql import connection as ours
from onloop.testing import FaultProxy
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, anames, assert_all_back, open_sockets

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

SHORT_S = 0.1
# More than a test may take: a bound that should not be reached, or the test fails.
LONG_S = 50.0


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    def set_bounds(cancel_s: float, drain_s: float) -> None:
        monkeypatch.setattr(ours, "CANCEL_S", cancel_s)
        monkeypatch.setattr(ours, "DRAIN_S", drain_s)

    set_bounds(LONG_S, LONG_S)
    return set_bounds


@pytest.fixture
def proxy(fault_proxy: FaultProxy) -> Any:
    with fault_proxy.in_front_of("default"):
        yield fault_proxy


@pytest.fixture(params=["in bridge", "in block"])
def running(
    request: pytest.FixtureRequest, proxy: FaultProxy, gate: Gate
) -> Callable[[], Awaitable[asyncio.Task[Any]]]:
    """`await running()` starts a query that waits at the server, and returns its task."""

    async def query() -> None:
        await afetch(gate.sql)

    async def block() -> None:
        async with transaction.atomic():
            await afetch(gate.sql)

    async def start() -> asyncio.Task[Any]:
        task = asyncio.create_task(query() if request.param == "in bridge" else block())
        await gate.until_waiting(1)
        return task

    return start


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def replaced(proxy: FaultProxy, gate: Gate, pid: int) -> None:
    proxy.forward()
    gate.open()
    assert await abackend_pid() != pid
    await assert_all_back()


# --- a network that fails while the query is cancelled ----------------------------------------


async def test_a_slow_network_makes_a_cancel_slow_and_loses_nothing(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    task = await running()
    (backend,) = gate.waiting()
    proxy.delay(20)
    await cancel(task)
    assert gate.waiting() == []
    assert await abackend_pid() == backend.pid
    await assert_all_back()


async def test_a_cancel_request_that_is_never_answered_costs_the_connection(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    bounds(SHORT_S, LONG_S)
    task = await running()
    (backend,) = gate.waiting()
    proxy.black_hole()
    await cancel(task)
    await replaced(proxy, gate, backend.pid)


async def test_a_cancel_request_that_is_refused_costs_the_connection(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    task = await running()
    (backend,) = gate.waiting()
    proxy.refuse()
    await cancel(task)
    await replaced(proxy, gate, backend.pid)


async def test_a_drain_that_does_not_end_costs_the_connection(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    bounds(LONG_S, SHORT_S)
    task = await running()
    (backend,) = gate.waiting()
    for proxied in list(proxy.connections):
        proxied.black_hole("down")  # the request to cancel comes over another connection
    await cancel(task)
    assert gate.waiting() == []  # it arrived
    await replaced(proxy, gate, backend.pid)


async def test_a_half_open_connection_costs_the_connection(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    bounds(LONG_S, SHORT_S)
    task = await running()
    (backend,) = gate.waiting()
    proxy.half_open()
    await cancel(task)
    await replaced(proxy, gate, backend.pid)


async def test_a_connection_that_is_cut_during_the_drain_is_replaced(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    task = await running()
    (backend,) = gate.waiting()
    # The request to cancel comes over another connection, and is answered by one byte.
    trigger = proxy.when("cut", direction="down", size=2)
    await cancel(task)
    assert trigger.fired
    await replaced(proxy, gate, backend.pid)


async def test_a_second_cancel_while_the_request_is_not_answered_ends_it_at_once(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    task = await running()
    (backend,) = gate.waiting()
    before = proxy.counters.accepted
    proxy.black_hole()
    task.cancel()
    await eventually(lambda: proxy.counters.accepted > before, "the request to cancel")
    await cancel(task)
    await replaced(proxy, gate, backend.pid)


async def test_a_second_cancel_during_the_drain_ends_it_at_once(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    task = await running()
    (backend,) = gate.waiting()
    for proxied in list(proxy.connections):
        proxied.black_hole("down")
    task.cancel()
    await eventually(lambda: gate.waiting() == [], "the end of the query")
    await cancel(task)
    await replaced(proxy, gate, backend.pid)


async def test_the_block_of_a_connection_that_was_lost_commits_nothing(
    proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    bounds(SHORT_S, LONG_S)

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await afetch(gate.sql)

    task = asyncio.create_task(work())
    await gate.until_waiting(1)
    proxy.black_hole()
    await cancel(task)
    proxy.forward()
    gate.open()
    assert await anames() == []
    await assert_all_back()


async def test_a_cancel_leaves_no_descriptor_behind(
    running: Any, proxy: FaultProxy, gate: Gate, bounds: Any
) -> None:
    bounds(SHORT_S, SHORT_S)
    task = await running()
    mine = open_sockets(proxy.descriptors())
    proxy.black_hole()
    await cancel(task)
    del task
    assert len(open_sockets(proxy.descriptors())) == len(mine) - 1
    proxy.forward()
    gate.open()


async def test_a_cancel_that_the_server_gets_before_its_statement_is_sent_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    ask = ours.LoopConnection._acancel

    async def too_early(self: Any, timeout_s: float) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:  # to a back end that is idle, the first one says nothing
            await ask(self, timeout_s)

    monkeypatch.setattr(ours.LoopConnection, "_acancel", too_early)
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    await cancel(task)
    assert asked == 2
    assert gate.waiting() == []
    assert await abackend_pid() == backend.pid
    await assert_all_back()


# --- libpq before 17 --------------------------------------------------------------------------


@pytest.fixture
def old_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "has_cancel_safe", lambda check=False: False)


# Not through the proxy, which is a thread of this process: psycopg's C implementation keeps the
# interpreter's lock while libpq's old request to cancel is under way.


@pytest.mark.usefixtures("old_libpq")
async def test_with_an_old_libpq_a_thread_asks_for_the_cancel(
    gate: Gate, bounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def spy(self: Any) -> None:
        threads.append(threading.current_thread().name)
        psycopg.Connection.cancel(self)

    monkeypatch.setattr(ours.LoopConnection, "cancel", spy)
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    await cancel(task)
    assert threads == ["onloop-cancel"]
    assert gate.waiting() == []
    assert await abackend_pid() == backend.pid
    await assert_all_back()


@pytest.mark.usefixtures("old_libpq")
async def test_with_an_old_libpq_a_server_that_does_not_answer_costs_the_connection(
    gate: Gate, bounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds(SHORT_S, LONG_S)
    answered = threading.Event()
    monkeypatch.setattr(ours.LoopConnection, "cancel", lambda self: answered.wait(LONG_S))
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    await cancel(task)
    answered.set()  # too late, and of no effect
    gate.open()
    assert await abackend_pid() != backend.pid
    await assert_all_back()


@pytest.mark.usefixtures("old_libpq")
async def test_with_an_old_libpq_a_request_that_fails_costs_the_connection(
    gate: Gate, bounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Any) -> None:
        raise psycopg.OperationalError("cancel failed: connection refused")

    monkeypatch.setattr(ours.LoopConnection, "cancel", refused)
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    await cancel(task)
    gate.open()
    assert await abackend_pid() != backend.pid
    await assert_all_back()


# --- without a cancel -------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["cut", "reset"])
@pytest.mark.parametrize("size", [1, 5, 2000, 100_000])
async def test_a_connection_that_is_cut_in_mid_answer_is_an_error_and_replaced(
    proxy: FaultProxy, action: Any, size: int
) -> None:
    pid = await abackend_pid()
    trigger = proxy.when(action, direction="down", size=size)
    with pytest.raises(OperationalError):
        await afetch("SELECT repeat('x', 100) FROM generate_series(1, 5000)")
    assert trigger.fired
    assert await abackend_pid() != pid
    await assert_all_back()


async def test_a_query_goes_on_when_the_network_comes_back(proxy: FaultProxy) -> None:
    await anames()
    proxy.black_hole()
    task = asyncio.create_task(afetch("SELECT 42"))
    passes = [await asyncio.sleep(0) for _ in range(5)]
    assert passes
    assert not task.done()
    proxy.forward()
    assert await task == 42


async def test_a_query_that_another_task_cancels_by_hand_is_an_error_of_its_own(
    gate: Gate,
) -> None:
    raw: list[Any] = []

    def work() -> None:
        with connection.cursor() as cursor:
            raw.append(connection.connection)
            cursor.execute(gate.sql)

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    await bridge.run(raw[0].cancel_safe)
    with pytest.raises(OperationalError, match="canceling statement due to user request"):
        await task
    await assert_all_back()


async def test_cancelling_by_hand_does_not_hold_the_loop(proxy: FaultProxy) -> None:
    """psycopg asks for a cancel by itself when COPY or `stream()` is left early."""
    passes = 0

    def ask() -> None:
        connection.ensure_connection()
        raw: Any = connection.connection
        proxy.black_hole()
        raw.cancel_safe(timeout=SHORT_S)

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    with pytest.raises(psycopg.errors.CancellationTimeout):
        await bridge.run(ask)
    counting.cancel()
    assert passes > 10
    proxy.forward()
    await bridge.run(connection.close)
