"""PostgreSQL: COPY in and out, whole, failing and cancelled, in a block and outside of any."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import OperationalError

from onloop import bridge
from onloop.db.backends.postgresql import connection as ours
from onloop.testing import FaultProxy

from .helpers import abackend_pid, afetch, anames, assert_all_back, names

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

IN = "COPY library_author (name) FROM STDIN"
OUT = "COPY (SELECT generate_series(1, 200000)) TO STDOUT"


@pytest.fixture(params=["in a block", "outside"])
def around(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return transaction.atomic if request.param == "in a block" else contextlib.nullcontext


class Held:
    """A place in synchronous code where a bridge waits until it is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    def wait(self) -> None:
        self.reached.set()
        bridge.await_(asyncio.Event().wait())


async def cancel_when(reached: asyncio.Event, task: asyncio.Task[Any]) -> None:
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def usable() -> None:
    """Nothing of the copy reaches those that come after it."""
    assert await afetch("SELECT 42") == 42
    async with transaction.atomic():
        assert await afetch("SELECT 43") == 43
    await assert_all_back()


async def test_rows_are_copied_in(around: Any) -> None:
    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(IN) as copy:
            for n in range(3):
                copy.write_row((f"{n}",))

    await bridge.run(work)
    assert await anames() == ["0", "1", "2"]
    await usable()


async def test_rows_are_copied_out(around: Any) -> None:
    def work() -> int:
        with around(), connection.cursor() as cursor, cursor.copy(OUT) as copy:
            return sum(1 for _ in copy.rows())

    assert await bridge.run(work) == 200000
    await usable()


async def test_the_loop_goes_on_while_much_is_copied_in(around: Any) -> None:
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(IN) as copy:
            for _ in range(200):
                copy.write("x" * 50_000 + "\n")
            raise ZeroDivisionError  # so that nothing of it stays

    counting = asyncio.create_task(count())
    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    counting.cancel()
    assert passes > 3
    assert await anames() == []


async def test_an_error_of_the_code_in_mid_copy_leaves_no_row(around: Any) -> None:
    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(IN) as copy:
            copy.write_row(("a",))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    assert await anames() == []
    await usable()


async def test_an_error_of_the_server_in_mid_copy_leaves_no_row(around: Any) -> None:
    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(IN) as copy:
            copy.write_row(("a",))
            copy.write("too long" * 1000 + "\n")

    # Django wraps errors of a call; this one comes from the end of psycopg's `with` block.
    with pytest.raises(psycopg.DataError, match="too long"):
        await bridge.run(work)
    assert await anames() == []
    await usable()


async def test_a_copy_that_is_wrong_from_the_start_is_an_error(around: Any) -> None:
    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy("COPY nothing TO STDOUT"):
            pass

    with pytest.raises(Exception, match="does not exist"):
        await bridge.run(work)
    await usable()


async def test_copying_out_may_be_left_early(around: Any) -> None:
    def work() -> Any:
        with around(), connection.cursor() as cursor, cursor.copy(OUT) as copy:
            return copy.read_row()

    # psycopg leaves a copy that is left without an error as it stands.
    with contextlib.suppress(OperationalError):
        assert await bridge.run(work) == ("1",)
    await usable()


async def test_an_error_of_the_code_while_copying_out_does_not_hold_the_loop(
    around: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg asks the server for a cancel then, in a blocking way of its own."""
    asked: list[bool] = []
    acancel = ours.LoopConnection._acancel

    async def spy(self: Any, timeout_s: float) -> None:
        asked.append(True)
        await acancel(self, timeout_s)

    monkeypatch.setattr(ours.LoopConnection, "_acancel", spy)

    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(OUT) as copy:
            copy.read()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    assert asked == [True]
    await usable()


@pytest.mark.parametrize("sql", [IN, OUT], ids=["in", "out"])
async def test_a_task_that_is_cancelled_between_two_steps_of_a_copy(
    around: Any, sql: str
) -> None:
    held = Held()

    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.write_row(("a",)) if sql == IN else copy.read()
            held.wait()

    await cancel_when(held.reached, asyncio.create_task(bridge.run(work)))
    assert await anames() == []
    await usable()


async def test_a_task_that_is_cancelled_while_the_server_takes_nothing_loses_the_connection(
    around: Any, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is ACTIVE then, and a server that reads rows hears no cancel."""
    monkeypatch.setattr(ours, "CANCEL_S", 0.1)
    monkeypatch.setattr(ours, "DRAIN_S", 0.1)
    stuck = asyncio.Event()

    def work() -> None:
        with around(), connection.cursor() as cursor, cursor.copy(IN) as copy:
            fault_proxy.black_hole("up")
            stuck.set()
            while True:
                copy.write("x" * 50_000 + "\n")

    with fault_proxy.in_front_of("default"):
        pid = await abackend_pid()
        task = asyncio.create_task(bridge.run(work))
        await asyncio.wait_for(stuck.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        fault_proxy.forward()
        assert await abackend_pid() != pid
        assert await anames() == []
        await usable()


async def test_a_task_that_is_cancelled_while_it_waits_for_rows(around: Any) -> None:
    waits = asyncio.Event()
    slow = "COPY (SELECT 1 UNION ALL SELECT pg_sleep(60)::text::int) TO STDOUT"

    def work() -> None:
        with around(), connection.cursor() as cursor:
            waits.set()
            with cursor.copy(slow) as copy:
                for _ in copy:
                    pass

    task = asyncio.create_task(bridge.run(work))
    await waits.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await usable()


async def test_rows_copied_in_and_the_callers_own_are_one_transaction() -> None:
    def work() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor, cursor.copy(IN) as copy:
                copy.write_row(("a",))
            assert names() == ["a"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    assert await anames() == []
