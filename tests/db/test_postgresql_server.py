"""PostgreSQL: what the server ends by itself: time-outs, conflicts, and whole sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from psycopg import errors

import onloop
from onloop import bridge
from onloop.db import leaving
from onloop.testing import FaultProxy
from tests.database import TestDatabases
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, anames, assert_all_back, backend_pid, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


def cause(caught: pytest.ExceptionInfo[BaseException]) -> type:
    return type(caught.value.__cause__)


@pytest.fixture
def kill(db_clean: TestDatabases) -> Callable[[int], None]:
    def kill(pid: int) -> None:
        with db_clean.connect() as outsider:
            outsider.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    return kill


@pytest.fixture
def proxy(fault_proxy: FaultProxy) -> Iterator[FaultProxy]:
    with fault_proxy.in_front_of("default"):
        yield fault_proxy


# --- time-outs of the server ------------------------------------------------------------------


async def test_a_statement_timeout_of_a_block_ends_with_it(gate: Gate) -> None:
    pid = await abackend_pid()
    with pytest.raises(OperationalError, match="statement timeout") as caught:
        async with transaction.atomic():
            await afetch("SET LOCAL statement_timeout = '50ms'")
            await Author.objects.acreate(name="Ann")
            await afetch(gate.sql)
    assert cause(caught) is errors.QueryCanceled
    assert await afetch("SHOW statement_timeout") == "0"
    assert await abackend_pid() == pid
    assert await anames() == []
    await assert_all_back()


async def test_a_statement_timeout_in_an_inner_block_costs_that_block_only(gate: Gate) -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with pytest.raises(OperationalError, match="statement timeout"):
            async with transaction.atomic():
                await afetch("SET LOCAL statement_timeout = '50ms'")
                await afetch(gate.sql)
        await Author.objects.acreate(name="after")
    assert await anames() == ["after", "outer"]


async def test_a_lock_timeout_is_an_error_and_leaves_the_connection_usable() -> None:
    await Author.objects.acreate(name="Ann")

    async def second() -> None:
        async with onloop.scope(), transaction.atomic():
            await afetch("SET LOCAL lock_timeout = '50ms'")
            await Author.objects.select_for_update().aget(name="Ann")

    async with transaction.atomic():
        await Author.objects.select_for_update().aget(name="Ann")
        with pytest.raises(OperationalError, match="lock timeout") as caught:
            await second()
    assert cause(caught) is errors.LockNotAvailable
    await assert_all_back()


@pytest.mark.parametrize(
    "setting", ["idle_in_transaction_session_timeout", "transaction_timeout"]
)
@pytest.mark.parametrize("goes_on", [True, False], ids=["another statement", "commit"])
async def test_a_session_that_the_server_ends_in_a_block_is_an_error_and_no_commit(
    setting: str, goes_on: bool, pg_activity: Callable[..., Any]
) -> None:
    pid = 0

    async def work() -> None:
        nonlocal pid
        async with transaction.atomic():
            pid = await abackend_pid()
            await afetch(f"SET LOCAL {setting} = '100ms'")
            await Author.objects.acreate(name="Ann")
            await eventually(lambda: pid not in {backend.pid for backend in pg_activity()})
            if goes_on:
                await Author.objects.acreate(name="Bob")

    if await afetch("SHOW server_version_num") < "170000" and setting == "transaction_timeout":
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    # psycopg's `InternalError`, as without Onloop.
    with pytest.raises(DatabaseError, match="terminating connection due to"):
        await work()
    assert await anames() == []
    assert await abackend_pid() != pid
    await assert_all_back()


async def test_timeouts_of_the_settings_hold_for_each_connection(
    extra_alias: Callable[..., str],
) -> None:
    options = "-c statement_timeout=40000 -c lock_timeout=30000"
    alias = extra_alias("timed", OPTIONS={"options": options, "pool": {"max_size": 1}})
    for _ in range(2):
        assert await afetch("SHOW statement_timeout", alias=alias) == "40s"
        assert await afetch("SHOW lock_timeout", alias=alias) == "30s"
        async with transaction.atomic(using=alias):
            await afetch("SET LOCAL statement_timeout = 0", alias=alias)


# --- sessions that are ended ------------------------------------------------------------------


async def test_a_back_end_killed_before_commit_is_an_error_and_runs_no_callback(
    kill: Callable[[int], None],
) -> None:
    ran: list[bool] = []
    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: ran.append(True))
            kill(await abackend_pid())
    assert ran == []
    assert await anames() == []
    await assert_all_back()


async def test_a_back_end_killed_in_an_inner_block_ends_the_outer_one_too(
    kill: Callable[[int], None],
) -> None:
    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            with pytest.raises(OperationalError):
                async with transaction.atomic():
                    kill(await abackend_pid())
                    await Author.objects.acreate(name="inner")
            await Author.objects.acreate(name="after")
    assert await anames() == []
    await assert_all_back()


async def test_a_pinned_connection_whose_back_end_was_killed_is_replaced_after_close(
    kill: Callable[[int], None],
) -> None:
    def work() -> None:
        connection.ensure_connection()
        kill(backend_pid())
        with pytest.raises(OperationalError):
            fetch("SELECT 1")
        connection.close()
        assert fetch("SELECT 2") == 2

    await bridge.run(work)
    await assert_all_back()


async def test_many_back_ends_killed_at_once_lose_no_slot(
    gate: Gate, kill: Callable[[int], None]
) -> None:
    tasks = [asyncio.create_task(afetch(gate.sql)) for _ in range(5)]
    for backend in await gate.until_waiting(5):
        kill(backend.pid)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, OperationalError) for result in results)
    gate.open()
    assert await anames() == []
    await assert_all_back()


# --- a commit of which nobody knows how it ended ----------------------------------------------


@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_a_commit_whose_answer_is_lost_is_an_error_and_never_done(
    proxy: FaultProxy, action: Any
) -> None:
    ran: list[bool] = []
    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: ran.append(True))
            # What goes up next is COMMIT, whole; its answer is not let through.
            trigger = proxy.when(action, direction="up", messages=1)
    assert trigger.fired
    assert ran == []
    assert await anames() in ([], ["Ann"])  # that is what "unknown" means
    await assert_all_back()


async def test_a_commit_that_never_reached_the_server_is_an_error(proxy: FaultProxy) -> None:
    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            proxy.cut()
    assert await anames() == []
    await assert_all_back()


async def test_a_commit_without_an_answer_is_given_up_once_the_task_is_cancelled(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, pg_activity: Callable[..., Any]
) -> None:
    monkeypatch.setattr(leaving, "SHIELD_S", 0.1)
    ran: list[bool] = []

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: ran.append(True))
            proxy.black_hole("down")

    task = asyncio.create_task(work())
    await eventually(lambda: pg_activity("COMMIT"), "COMMIT at the server")
    task.cancel()
    with pytest.raises((asyncio.CancelledError, OperationalError)):
        await task
    assert ran == []
    proxy.forward()
    await eventually(lambda: pg_activity("COMMIT") == [])
    assert await anames() == ["Ann"]
    await assert_all_back()


# --- conflicts --------------------------------------------------------------------------------


async def test_a_serialization_failure_can_be_tried_again(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("serial", OPTIONS={"isolation_level": 4})  # SERIALIZABLE
    await Author.objects.abulk_create([Author(name="a"), Author(name="b")])
    both = asyncio.Barrier(2)
    tries = 0

    async def turn(mine: str, others: str) -> None:
        nonlocal tries
        rows = Author.objects.using(alias)
        while True:
            tries += 1
            with contextlib.suppress(OperationalError):
                async with transaction.atomic(using=alias):
                    count = await rows.filter(name=others).acount()
                    if tries <= 2:
                        await both.wait()  # each has read what the other is about to write
                    await rows.filter(name=mine).aupdate(name=f"{mine} {count}")
                return

    await asyncio.gather(turn("a", "b"), turn("b", "a"))
    assert tries == 3
    # One of them was first, and the other one saw that.
    assert await anames() in (["a 1", "b 0"], ["a 0", "b 1"])
    await assert_all_back(alias)


async def test_the_isolation_level_of_the_settings_survives_a_replaced_connection(
    extra_alias: Callable[..., str], kill: Callable[[int], None]
) -> None:
    alias = extra_alias("serial", OPTIONS={"isolation_level": 4, "pool": {"max_size": 1}})
    for _ in range(3):
        async with transaction.atomic(using=alias):
            assert await afetch("SHOW transaction_isolation", alias=alias) == "serializable"
        kill(await abackend_pid(alias))
    await assert_all_back(alias)
