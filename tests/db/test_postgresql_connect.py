"""PostgreSQL: opening a connection, where that is slow, silent, or cut short."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from psycopg import connection_async

from onloop.db.errors import DatabaseUnavailable
from onloop.testing import FaultProxy
from tests.postgres import PostgresServer

from .eventually import eventually
from .helpers import afetch, anames, assert_all_back, open_sockets, pool_stats

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


@pytest.fixture
def proxy(fault_proxy: FaultProxy) -> Iterator[FaultProxy]:
    with fault_proxy.in_front_of("default"):
        yield fault_proxy


async def works() -> bool:
    try:
        return await anames() == []
    except DatabaseUnavailable:  # it is too early for the next attempt
        return False


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_server_that_accepts_and_never_answers_is_unavailable_after_connect_timeout(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_sockets(proxy.descriptors())
    proxy.black_hole()
    with monkeypatch.context() as patched:
        # libpq's own rule is at least two seconds.
        patched.setattr(connection_async, "timeout_from_conninfo", lambda params: 0.1)
        with pytest.raises(DatabaseUnavailable, match="connection timeout expired") as caught:
            await anames()
    del caught
    assert open_sockets(proxy.descriptors()) == before
    proxy.forward()
    await eventually(works, "the next attempt")
    await assert_all_back()


async def test_the_connect_timeout_of_the_settings_reaches_psycopg(
    extra_alias: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(params: Any) -> float:
        seen.append(params["connect_timeout"])
        return 5

    monkeypatch.setattr(connection_async, "timeout_from_conninfo", look)
    await anames(extra_alias("timed", OPTIONS={"connect_timeout": 7}))
    assert seen == [7]


async def test_the_loop_goes_on_while_a_connection_is_opened(proxy: FaultProxy) -> None:
    proxy.black_hole()
    task = asyncio.create_task(anames())
    await eventually(lambda: proxy.counters.accepted, "the connection at the proxy")
    assert not task.done()
    proxy.forward()
    assert await task == []


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_a_cancel_during_connect_leaves_neither_slot_nor_socket_nor_session(
    proxy: FaultProxy, pg_activity: Callable[..., Any], twice: bool
) -> None:
    before = open_sockets(proxy.descriptors())
    proxy.black_hole()
    task = asyncio.create_task(anames())
    await eventually(lambda: proxy.connections, "the connection at the proxy")
    gc.disable()
    try:
        task.cancel()
        if twice:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        assert open_sockets(proxy.descriptors()) == before
    finally:
        gc.enable()
    proxy.forward()
    await eventually(lambda: proxy.connections == [], "the end of the half-open connection")
    assert (await pool_stats())["pool_size"] == 0
    await eventually(lambda: pg_activity(application_name="onloop-tests") == [])


async def test_a_cancel_while_the_connection_is_set_up_closes_it(
    proxy: FaultProxy, extra_alias: Callable[..., str], pg_activity: Callable[..., Any]
) -> None:
    """Django's own statements come after the connection is there, and so does a receiver's."""

    def receiver(connection: Any, **kwargs: Any) -> None:
        proxy.black_hole("down")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'set up'")

    connection_created.connect(receiver)
    try:
        task = asyncio.create_task(anames())
        await eventually(lambda: pg_activity("set up"), "the statement of the receiver")
        task.cancel()
        await asyncio.sleep(0)
        await cancel(task)
    finally:
        connection_created.disconnect(receiver)
    proxy.forward()
    assert (await pool_stats())["pool_size"] == 0
    await eventually(lambda: pg_activity(application_name="onloop-tests") == [])
    assert await anames() == []


async def test_a_receiver_that_fails_costs_the_connection_and_no_slot(
    pg_activity: Callable[..., Any],
) -> None:
    def receiver(**kwargs: Any) -> None:
        raise ZeroDivisionError

    connection_created.connect(receiver)
    try:
        with pytest.raises(ZeroDivisionError):
            await anames()
    finally:
        connection_created.disconnect(receiver)
    assert (await pool_stats())["pool_size"] == 0
    await eventually(lambda: pg_activity(application_name="onloop-tests") == [])


async def test_a_host_is_looked_up_without_holding_the_loop(
    extra_alias: Callable[..., str],
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if request.config.getoption("loop") == "uvloop":
        pytest.skip("uvloop asks the system by itself, not through the socket module")
    alias = extra_alias("named", HOST="database.invalid")
    asked, answer = threading.Event(), threading.Event()

    def look_up(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        asked.set()
        assert answer.wait(90)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (postgres.place.host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    task = asyncio.create_task(anames(alias))
    await eventually(asked.is_set, "the look-up")
    assert not task.done()
    answer.set()
    assert await task == []
    await assert_all_back(alias)


async def test_a_host_that_does_not_exist_is_unavailable(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("nowhere", HOST="database.invalid")
    with pytest.raises(DatabaseUnavailable, match=r"database\.invalid"):
        await anames(alias)
    assert (await pool_stats(alias))["pool_size"] == 0


async def test_a_second_host_is_tried_where_the_first_one_refuses(
    extra_alias: Callable[..., str], postgres: PostgresServer, proxy: FaultProxy
) -> None:
    proxy.refuse()
    place = postgres.place
    alias = extra_alias(
        "two", HOST=f"{proxy.host},{place.host}", PORT=f"{proxy.port},{place.port}"
    )
    assert await anames(alias) == []
    await assert_all_back(alias)


async def test_a_connection_lost_in_a_block_is_not_opened_again_at_its_end(
    proxy: FaultProxy,
) -> None:
    """Django would, to switch autocommit on, and a server that is away would be waited for."""
    from django.db import OperationalError, transaction

    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await anames()
            opened = proxy.counters.accepted
            proxy.refuse()
            proxy.cut()
            await anames()
    assert proxy.counters.accepted == opened
    proxy.forward()
    assert await afetch("SELECT 1") == 1
    assert connections["default"].get_autocommit()
    await assert_all_back()


def test_a_plain_thread_connects_as_psycopg_does() -> None:
    with connections["default"].cursor() as cursor:
        raw = cursor.connection
        assert isinstance(raw, psycopg.Connection)
