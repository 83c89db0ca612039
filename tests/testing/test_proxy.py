"""The fault proxy in front of the run's PostgreSQL, for raw psycopg and for Django."""

import asyncio
import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import connection as django_connection
from django.db.utils import DatabaseError
from psycopg import errors

import onloop
from onloop import bridge
from onloop.testing import FaultProxy
from tests.project.library.models import Author

pytestmark = pytest.mark.only_on("postgresql")


@pytest.fixture
def connect(fault_proxy, postgres, database):
    """`connect()`: a plain psycopg connection through the proxy."""
    with contextlib.ExitStack() as opened:

        def connect(**others):
            parameters = postgres.place.parameters() | {"connect_timeout": 5} | others
            connection = psycopg.connect(
                **fault_proxy.parameters(**parameters), autocommit=True
            )
            return opened.enter_context(contextlib.closing(connection))

        yield connect


def answer(connection):
    return connection.execute("SELECT 42").fetchone()[0]


def only_connection(proxy):
    (connection,) = proxy.connections
    return connection


# --- modes ------------------------------------------------------------------------------------


def test_it_forwards_both_ways_and_counts(fault_proxy, connect):
    connection = connect()
    seen = only_connection(fault_proxy)
    before = seen.messages["up"], seen.sent["down"]
    assert answer(connection) == 42
    # A simple query is one message of the client; without parameters psycopg sends it so.
    assert seen.messages["up"] == before[0] + 1
    assert seen.sent["down"] > before[1]
    assert fault_proxy.counters.accepted == 1


def test_large_answers_pass_whole(connect):
    rows = connect().execute("SELECT repeat('x', 1000000) FROM generate_series(1, 5)")
    assert [len(row[0]) for row in rows] == [1_000_000] * 5


def test_cut_closes_the_connection(fault_proxy, connect):
    connection = connect()
    fault_proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        answer(connection)
    assert fault_proxy.connections == []
    assert answer(connect()) == 42


def test_reset_is_a_reset(fault_proxy, connect):
    connection = connect()
    twin = socket.socket(fileno=connection.fileno())
    fault_proxy.reset()
    with pytest.raises(ConnectionResetError):
        twin.recv(1)
    twin.detach()


def test_refuse_turns_new_connections_away_and_keeps_the_old(fault_proxy, connect):
    old = connect()
    fault_proxy.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect()
    assert answer(old) == 42
    port = fault_proxy.port
    fault_proxy.forward()
    assert fault_proxy.port == port
    assert answer(connect()) == 42


def test_delay_holds_every_piece_back(fault_proxy, connect):
    connection = connect()
    fault_proxy.delay(100)
    begun = time.monotonic()
    assert answer(connection) == 42
    # Never early, whatever else the machine does.
    assert time.monotonic() - begun >= 0.2
    fault_proxy.forward()
    assert only_connection(fault_proxy).delay_s == {"up": 0.0, "down": 0.0}


@pytest.mark.parametrize("which", ["both", "up", "down"])
def test_a_black_hole_keeps_the_connection_and_forwards_nothing(fault_proxy, connect, which):
    connection = connect()
    seen = only_connection(fault_proxy)
    before = dict(seen.sent)
    fault_proxy.black_hole(which)
    got = []
    thread = threading.Thread(target=lambda: got.append(answer(connection)))
    thread.start()
    thread.join(0.2)
    assert got == []
    for direction in ("up", "down"):
        forwarded = seen.sent[direction] - before[direction]
        # With the way up shut there is no answer either.
        assert (forwarded > 0) == (which == "down" and direction == "up")
    fault_proxy.forward()
    thread.join(90)
    assert got == [42]  # as when a network comes back: nothing is lost


def test_a_black_hole_accepts_new_connections_that_never_begin(fault_proxy, connect):
    fault_proxy.black_hole()
    with pytest.raises(errors.ConnectionTimeout):
        connect(connect_timeout=2)
    assert fault_proxy.counters.accepted >= 1


def test_half_open_drops_the_server_and_tells_the_client_nothing(
    fault_proxy, connect, database
):
    connection = connect(application_name="half-open")
    fault_proxy.half_open()
    deadline = time.monotonic() + 90
    while database.activity(application_name="half-open"):
        assert time.monotonic() < deadline, "the server does not know"
    twin = socket.socket(fileno=connection.fileno())
    with pytest.raises(BlockingIOError):  # neither closed nor anything to read
        twin.recv(1, socket.MSG_DONTWAIT)
    assert twin.send(b"X") == 1
    twin.detach()


# --- at a chosen byte or message --------------------------------------------------------------


def test_a_fault_at_a_message_lets_the_messages_before_it_pass(fault_proxy, connect):
    connection = connect()
    # RowDescription, DataRow, DataRow, and no more.
    trigger = fault_proxy.when("cut", direction="down", messages=3)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT * FROM generate_series(1, 3)")
    assert trigger.fired
    assert trigger.wait()
    assert trigger.connection.closed
    assert answer(connect()) == 42


def test_a_fault_at_a_byte_cuts_there(fault_proxy):
    class Echo(threading.Thread):
        def run(self):
            client, _ = listener.accept()
            with client:
                while data := client.recv(100):
                    client.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        echo = Echo()
        echo.start()
        with FaultProxy(*listener.getsockname()) as proxy:
            trigger = proxy.when("cut", direction="down", size=7)
            with socket.create_connection((proxy.host, proxy.port)) as client:
                client.sendall(b"0123456789")
                got = b""
                while data := client.recv(100):
                    got += data
            assert got == b"0123456"
            assert trigger.fired
        echo.join()


def test_a_fault_fires_once_and_for_one_connection(fault_proxy, connect):
    one, two = connect(), connect()
    fault_proxy.when("reset", direction="up", messages=1)
    with pytest.raises(psycopg.OperationalError):
        answer(one)
    assert answer(two) == 42


def test_a_fault_on_the_way_up_is_armed_for_connections_to_come(fault_proxy, connect):
    # The request for encryption, then the start-up message.
    trigger = fault_proxy.when("reset", direction="up", messages=2)
    with pytest.raises(psycopg.OperationalError):
        connect(sslmode="prefer", gssencmode="disable")
    assert trigger.fired


def test_a_fault_that_is_called_off_while_its_piece_is_sent_does_not_fire(
    fault_proxy, connect, forced_window
):
    connection = connect()
    client = only_connection(fault_proxy)._client
    fault_proxy.when("cut", direction="down", messages=1)
    with (
        ThreadPoolExecutor() as threads,
        forced_window.at(
            (fault_proxy._loop, "sock_sendall"), before=True, only=lambda to, _: to is client
        ) as window,
    ):
        asking = threads.submit(answer, connection)
        window.wait_reached()
        fault_proxy.forward()
        window.release()
        try:
            assert asking.result(30) == 42
        finally:
            fault_proxy.cut()  # so that the thread ends


def test_messages_are_counted_through_any_chopping():
    from onloop.testing.protocol import Conversation, MessageCounter

    startup = b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0\0\0\x0c\0\x03\0\0abcd"
    stream = startup + b"Q\0\0\0\x09abc\0\0" + b"X\0\0\0\x04"
    for size in (1, 2, 3, 7, len(stream)):
        counter = MessageCounter(Conversation(), "up")
        for start in range(0, len(stream), size):
            counter.feed(stream[start : start + size])
        assert counter.count == 4, size
    counter = MessageCounter(Conversation(), "up")
    assert counter.feed(stream, stop_at=3) == len(stream) - 5


# --- one connection ---------------------------------------------------------------------------


def test_a_black_hole_of_one_connection_holds_up_no_other(fault_proxy, connect):
    held, other = connect(), connect()
    seen = fault_proxy.connections[0]
    with ThreadPoolExecutor() as threads:
        before = seen.messages["up"]
        seen.black_hole("down")
        asking = threads.submit(answer, held)
        assert answer(other) == 42
        while seen.messages["up"] == before:
            time.sleep(0.001)
        assert not asking.done()
        seen.forward()
        try:
            assert asking.result(30) == 42
        finally:
            fault_proxy.cut()  # so that the thread ends


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_one_connection_is_closed_and_no_other(fault_proxy, connect, fault):
    closed, other = connect(), connect()
    getattr(fault_proxy.connections[0], fault)()
    assert len(fault_proxy.connections) == 1
    with pytest.raises(errors.OperationalError):
        answer(closed)
    assert answer(other) == 42


def test_one_connection_is_half_open_and_no_other(fault_proxy, connect, database):
    connect(application_name="half-open")
    other = connect()
    fault_proxy.connections[0].half_open()
    deadline = time.monotonic() + 90
    while database.activity(application_name="half-open"):
        assert time.monotonic() < deadline, "the server does not know"
    assert answer(other) == 42


def test_one_connection_is_late_and_no_other(fault_proxy, connect):
    connect(), connect()
    fault_proxy.connections[0].delay(5, "down")
    late = [connection.delay_s for connection in fault_proxy.connections]
    assert late == [{"up": 0.0, "down": 0.005}, {"up": 0.0, "down": 0.0}]


def test_a_connection_of_a_proxy_that_has_stopped_is_closed(postgres):
    place = postgres.place
    with (
        FaultProxy(place.socket_dir, place.port) as proxy,
        contextlib.closing(psycopg.connect(**proxy.parameters(**place.parameters()))),
    ):
        (seen,) = proxy.connections
    seen.cut()
    assert seen.closed


# --- life -------------------------------------------------------------------------------------


def test_a_stopped_proxy_leaves_no_thread_and_refuses_commands(postgres):
    with FaultProxy(postgres.place.socket_dir, postgres.place.port) as proxy:
        names = [thread.name for thread in threading.enumerate()]
        assert "onloop-fault-proxy" in names
    assert "onloop-fault-proxy" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(RuntimeError, match="stopped"):
        proxy.cut()


def test_it_reaches_the_server_over_tcp_as_well(postgres, database):
    with FaultProxy("localhost", postgres.place.port) as proxy:
        parameters = proxy.parameters(**postgres.place.parameters())
        with psycopg.connect(**parameters) as connection:
            assert answer(connection) == 42


def test_a_server_that_is_away_is_counted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**proxy.parameters(dbname="x", user="x", connect_timeout=5))
        assert proxy.counters.refused_upstream >= 1


# --- in front of Django -----------------------------------------------------------------------


async def test_django_goes_through_the_proxy_and_back(db_clean, fault_proxy, pg_activity):
    def address():
        with django_connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return django_connection.settings_dict["HOST"]

    direct = await bridge.run(address)
    with fault_proxy.in_front_of("default"):
        async with onloop.scope():
            assert await bridge.run(address) == "127.0.0.1"
        assert fault_proxy.counters.accepted == 1
    assert await bridge.run(address) == direct
    assert fault_proxy.counters.accepted == 1


async def test_it_works_while_the_loop_under_test_is_held(db_clean, fault_proxy, postgres):
    parameters = fault_proxy.parameters(**postgres.place.parameters())
    with psycopg.connect(**parameters) as connection:  # blocks this loop
        assert answer(connection) == 42


async def test_a_connection_cut_in_a_query_is_an_error_and_the_next_query_works(
    db_clean, fault_proxy
):
    with fault_proxy.in_front_of("default"):
        await Author.objects.acreate(name="before")
        fault_proxy.when("reset", direction="up", messages=1)
        with pytest.raises(DatabaseError):
            await Author.objects.acount()
        assert await Author.objects.acount() == 1


async def test_a_black_hole_holds_one_query_and_not_the_loop(db_clean, fault_proxy):
    with fault_proxy.in_front_of("default"):
        assert await Author.objects.acount() == 0
        fault_proxy.black_hole("down")
        query = asyncio.create_task(Author.objects.acount())
        turns = 0
        while fault_proxy.connections[0].sent["up"] == 0 or turns < 5:
            await asyncio.sleep(0)
            turns += 1
        assert not query.done()
        fault_proxy.forward()
        assert await query == 0
