"""`OPTIONS["answer_timeout"]`: a server that does not answer a statement is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from psycopg import connection_async

import onloop
from onloop import bridge
from onloop.db.backends.postgresql.connection import Unanswered
from onloop.db.errors import ConnectionLost, DatabaseUnavailable
from onloop.testing import FaultProxy
from tests.database import TestDatabases, close_pools
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, anames, assert_all_back, fetch, pool_stats

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

SHORT_S = 0.5


@pytest.fixture
def limited(extra_alias: Callable[..., str]) -> str:
    return extra_alias("limited", OPTIONS={"answer_timeout": SHORT_S})


async def test_a_statement_that_takes_too_long_is_given_up_and_stopped_at_the_server(
    limited: str, gate: Gate
) -> None:
    task = asyncio.create_task(afetch(gate.sql, alias=limited))
    await gate.until_waiting(1)
    with pytest.raises(ConnectionLost, match=r"did not answer within 0\.5 s") as caught:
        await task
    assert isinstance(caught.value.__cause__, Unanswered)
    await eventually(lambda: not gate.waiting())  # its locks are free
    await assert_all_back(limited)
    assert await afetch("SELECT 1", alias=limited) == 1


async def test_so_it_is_in_the_thread_of_a_view(limited: str, gate: Gate) -> None:
    async with onloop.scope(), transaction.atomic(using=limited):
        with pytest.raises(ConnectionLost, match="did not answer"):
            await asyncio.to_thread(fetch, gate.sql, alias=limited)
        transaction.set_rollback(True, using=limited)
    await eventually(lambda: not gate.waiting())
    await assert_all_back(limited)


def test_so_it_is_in_plain_synchronous_code(limited: str, gate: Gate) -> None:
    with pytest.raises(ConnectionLost, match="did not answer"):
        fetch(gate.sql, alias=limited)
    assert gate.waiting() == []


async def test_a_cancel_while_it_is_given_up_leaves_no_connection(
    limited: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onloop.db.backends.postgresql.connection import LoopConnection

    asked = asyncio.Event()

    def ask_for_ever(self: Any, timeout: float) -> None:
        asked.set()
        bridge.await_(asyncio.Event().wait())

    monkeypatch.setattr(LoopConnection, "cancel_safe", ask_for_ever)
    task = asyncio.create_task(afetch(gate.sql, alias=limited))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await pool_stats(limited))["pool_size"] == 0
    gate.open()


@pytest.fixture
def silent(db_clean: TestDatabases, fault_proxy: FaultProxy, monkeypatch: Any) -> Any:
    """`default` with a time-out, behind a proxy; nothing that a test leaves waits there."""
    with fault_proxy.in_front_of("default"):
        monkeypatch.setitem(
            connections.settings["default"],
            "OPTIONS",
            {"answer_timeout": SHORT_S, "pool": {"max_size": 2, "timeout": 10}},
        )
        yield fault_proxy
        close_pools()


async def test_a_commit_without_an_answer_is_an_error_and_no_callback_runs(silent: Any) -> None:
    ran: list[str] = []
    with pytest.raises(ConnectionLost, match="unknown"):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: ran.append("ran"))
            silent.black_hole("down")
    silent.forward()
    assert ran == []
    assert await anames() == ["Ann"]  # it was committed, though nobody could know
    await assert_all_back()


@pytest.mark.parametrize("often", [1, 2])
async def test_a_cancel_while_a_commit_is_given_up_is_raised_when_the_block_has_ended(
    silent: Any, monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    from onloop.db.backends.postgresql.connection import LoopConnection

    asked = asyncio.Event()
    failed: list[BaseException | None] = []

    def ask_for_ever(self: Any, timeout: float) -> None:
        asked.set()
        bridge.await_(asyncio.Event().wait())

    monkeypatch.setattr(LoopConnection, "cancel_safe", ask_for_ever)

    async def work() -> None:
        async with onloop.scope():
            try:
                async with transaction.atomic():
                    await Author.objects.acreate(name="Ann")
                    transaction.on_commit(lambda: failed.append(None))
                    silent.black_hole("down")
            except BaseException as exc:
                failed.append(exc)
                assert not connection.in_atomic_block
                assert transaction.get_autocommit()
                raise

    task = asyncio.create_task(work())
    await asked.wait()
    for _ in range(often):
        task.cancel()
        await asyncio.sleep(0)
    done, _ = await asyncio.wait({task}, timeout=90)
    assert done, "the task hangs"
    assert task.cancelled()
    assert [type(exc) for exc in failed] == [asyncio.CancelledError]
    silent.forward()
    monkeypatch.undo()
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_the_pools_other_connections_are_asked_before_they_are_lent(silent: Any) -> None:
    meeting = asyncio.Barrier(2)

    async def hold() -> int:
        async with onloop.scope(), transaction.atomic():
            pid = await abackend_pid()
            await meeting.wait()
            return pid

    pids = await asyncio.gather(hold(), hold())
    silent.half_open()
    with pytest.raises(ConnectionLost, match="did not answer"):
        await anames()
    # The other one is as dead, and is replaced before anybody meets with it.
    assert await abackend_pid() not in pids
    await assert_all_back()


async def test_waiting_for_notifications_is_not_waiting_for_an_answer(
    extra_alias: Callable[..., str], db_clean: TestDatabases
) -> None:
    alias = extra_alias(
        "news", OPTIONS={"answer_timeout": SHORT_S, "pool": {"mode": "session"}}
    )
    began = time.monotonic()

    def listen() -> str:
        with connections[alias].cursor() as cursor:
            cursor.execute("LISTEN news")
        raw = connections[alias].connection
        assert list(raw.notifies(timeout=2 * SHORT_S)) == []
        return next(raw.notifies(stop_after=1)).payload

    async with onloop.scope():
        task = asyncio.create_task(bridge.run(listen))
        await eventually(lambda: time.monotonic() - began > 4 * SHORT_S)
        with db_clean.connect() as outsider:
            outsider.execute("NOTIFY news, 'hello'")
        assert await task == "hello"


@pytest.mark.parametrize("wrong", [0, -1, "5", True, float("nan")])
async def test_a_time_out_that_is_none_is_refused(
    extra_alias: Callable[..., str], wrong: object
) -> None:
    alias = extra_alias("wrong", OPTIONS={"answer_timeout": wrong})
    with pytest.raises(ImproperlyConfigured, match="must be a positive number of seconds"):
        await anames(alias)


# --- connecting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pool": {"timeout": 6.5}}, 7),
        ({}, 30),
        ({"pool": {"timeout": 6.5}, "connect_timeout": 3}, 3),
    ],
)
async def test_connecting_may_take_as_long_as_waiting_for_a_connection(
    extra_alias: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    options: Any,
    expected: float,
) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    seen: list[Any] = []

    def look(params: Any) -> float:
        seen.append(params["connect_timeout"])
        return 20

    monkeypatch.setattr(connection_async, "timeout_from_conninfo", look)
    await anames(extra_alias("timed", OPTIONS=options))
    assert seen == [expected]


async def test_the_environment_may_say_how_long(
    extra_alias: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "20")
    seen: list[Any] = []
    timeout_of = connection_async.timeout_from_conninfo

    def look(params: Any) -> float:
        seen.append(timeout_of(params))
        return seen[0]

    monkeypatch.setattr(connection_async, "timeout_from_conninfo", look)
    await anames(extra_alias("timed"))
    assert seen == [20]


async def test_a_check_that_nobody_answers_takes_no_longer_than_the_pool_allows(
    db_clean: TestDatabases, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any time-out in the settings."""
    monkeypatch.setattr("onloop.db.pool.pool.CHECK_AFTER_S", 0.0)
    monkeypatch.setattr("onloop.db.pool.pool.CHECK_S", SHORT_S)
    monkeypatch.setitem(connections.settings["default"], "CONN_HEALTH_CHECKS", True)
    with fault_proxy.in_front_of("default"):
        pid = await abackend_pid()
        fault_proxy.when("black_hole", direction="up", messages=1)
        assert await abackend_pid() != pid
        await assert_all_back()
        close_pools()


async def test_the_pools_time_out_bounds_checks_and_attempts_together(
    db_clean: TestDatabases, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onloop.db.pool.pool.CHECK_AFTER_S", 0.0)
    monkeypatch.setattr(connection_async, "timeout_from_conninfo", lambda params: SHORT_S)
    settings = connections.settings["default"]
    monkeypatch.setitem(settings, "OPTIONS", {"pool": {"max_size": 1, "timeout": SHORT_S}})
    monkeypatch.setitem(settings, "CONN_HEALTH_CHECKS", True)
    with fault_proxy.in_front_of("default"):
        await anames()
        fault_proxy.black_hole()
        task = asyncio.create_task(anames())
        done, _ = await asyncio.wait({task}, timeout=90)
        assert done, "the caller hangs"
        with pytest.raises(DatabaseUnavailable):
            await task
        fault_proxy.forward()
        close_pools()
