"""Consumers on real servers, with a real client at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from onloop import bridge
from tests.channels.conftest import DEADLINE_S
from tests.db.eventually import eventually
from tests.project.library.models import Author, Book
from tests.servers import Serving

HELPER = "tests.project.asgi_sockets:application"
STACK = "tests.project.asgi_stack:application"

UVICORN = Serving("uvicorn", application=HELPER)
DAPHNE = Serving("daphne", application=HELPER)
HYPERCORN = Serving("hypercorn", application=HELPER)
SERVERS = [
    UVICORN,
    replace(UVICORN, loop="uvloop"),
    replace(UVICORN, arguments=("--ws", "wsproto")),
    replace(UVICORN, application=STACK),
    DAPHNE,
    replace(DAPHNE, application=STACK),
    HYPERCORN,
]


def name_of(serving):
    kind = "-by-hand" if serving.application == STACK else ""
    return "-".join([serving.server, serving.loop, *serving.arguments[1:]]) + kind


def served_by(*servers):
    return pytest.mark.parametrize("asgi_server", servers, ids=name_of, indirect=True)


@contextlib.asynccontextmanager
async def opened(server, path="/sockets/desk/", **headers):
    async with connect(
        server.url.replace("http", "ws") + path,
        origin=server.url,
        additional_headers=headers,
        open_timeout=DEADLINE_S,
        ping_interval=None,
        close_timeout=2,
    ) as socket:
        yield socket


async def ask(socket, do, **arguments):
    await socket.send(json.dumps({"do": do, **arguments}))
    async with asyncio.timeout(DEADLINE_S):
        return json.loads(await socket.recv())


@pytest.fixture
def book(db_clean):
    author = Author.objects.create(name="A. Loop")
    return Book.objects.create(title="One", author=author, published="2001-01-01")


async def cookie():
    def sign_in():
        client = Client()
        client.force_login(User.objects.create_user("ann"))
        return f"sessionid={client.cookies['sessionid'].value}"

    return await bridge.run(sign_in)


@served_by(*SERVERS)
async def test_a_consumer_answers_with_queries_session_and_user(asgi_server, book):
    async with opened(asgi_server, Cookie=await cookie()) as socket:
        assert await ask(socket, "where") == "bridge"
        assert await ask(socket, "books") == [["One", "A. Loop"]]
        assert await ask(socket, "who") == "ann"
        assert [await ask(socket, "visits") for _ in range(3)] == [1, 2, 3]
        assert await ask(socket, "add", name="B. Loop") == 2


@served_by(*SERVERS)
async def test_a_sync_consumer_answers_from_a_thread(asgi_server, book):
    async with opened(asgi_server, "/sockets/desk-sync/", Cookie=await cookie()) as socket:
        assert await ask(socket, "where") == "thread"
        assert await ask(socket, "books") == [["One", "A. Loop"]]
        assert await ask(socket, "who") == "ann"
        assert await ask(socket, "add", name="B. Loop") == 2


def by_us(process):
    """Its threads, but for those that come and go as the machine decides."""
    comes_and_goes = ("onloop-watchdog", "onloop-sqlite")
    return sorted(name for name in process["threads"] if not name.startswith(comes_and_goes))


@served_by(*SERVERS)
async def test_two_hundred_messages_on_twenty_sockets_start_no_thread(asgi_server, book):
    async def talk(socket):
        for _ in range(10):
            assert await ask(socket, "books") == [["One", "A. Loop"]]

    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(opened(asgi_server)) for _ in range(20)]
        before = await ask(sockets[0], "process")
        await asyncio.gather(*map(talk, sockets))
        after = await ask(sockets[0], "process")
    assert after["pid"] == before["pid"]
    assert by_us(after) == by_us(before)


@served_by(*SERVERS)
async def test_the_queries_of_ten_sockets_run_at_once(asgi_server, pg_activity, database):
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(opened(asgi_server)) for _ in range(10)]
        with database.connect() as holder:
            holder.execute("SELECT pg_advisory_lock(7)")
            for socket in sockets:
                await socket.send(json.dumps({"do": "lock"}))
            await eventually(lambda: len(pg_activity("of_ten_sockets", state="active")) == 10)
        for socket in sockets:
            async with asyncio.timeout(DEADLINE_S):
                assert json.loads(await socket.recv()) == "let go"


# With the pieces of Channels alone, uvicorn cuts the connection, which is 1006.
@served_by(*(server for server in SERVERS if name_of(server) != "uvicorn-asyncio-by-hand"))
async def test_an_error_closes_the_socket_with_1011_and_is_logged(asgi_server, db_clean):
    async with opened(asgi_server) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await ask(socket, "raise")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    await eventually(lambda: "LookupError: of the consumer" in asgi_server.new_log())
    assert not await Author.objects.aexists()
    async with opened(asgi_server) as socket:
        assert await ask(socket, "where") == "bridge"


@served_by(UVICORN, DAPHNE, HYPERCORN)
async def test_a_page_of_another_site_is_refused(asgi_server):
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            asgi_server.url.replace("http", "ws") + "/sockets/desk/",
            origin="https://evil.example",
        )
    assert refused.value.response.status_code == 403


@served_by(UVICORN, DAPHNE, HYPERCORN)
async def test_http_is_served_beside(asgi_server, ahttp, book):
    assert (await ahttp.get("/books/")).json() == {
        "books": [{"title": "One", "author": "A. Loop"}]
    }


# --- leaving ----------------------------------------------------------------------------------


async def begin_to_sleep(socket, pg_activity, seconds=60):
    await socket.send(json.dumps({"do": "sleep", "seconds": seconds}))
    await eventually(lambda: pg_activity("in_a_consumer", state="active"))


def idle(pg_activity):
    """Whether all connections of the server are idle, outside of any transaction."""
    return {found.state for found in pg_activity(application_name="onloop-server")} <= {"idle"}


@served_by(UVICORN, HYPERCORN)
async def test_a_message_is_finished_though_its_client_has_left(asgi_server, pg_activity):
    """As in Channels: no server cancels the consumer, which is told when it is done."""
    async with opened(asgi_server) as socket:
        await begin_to_sleep(socket, pg_activity, seconds=1)
    await eventually(Author.objects.aexists)
    await eventually(lambda: idle(pg_activity))


@served_by(replace(DAPHNE, arguments=("--application-close-timeout", "1")))
async def test_daphne_cancels_it_and_its_transaction_is_rolled_back(asgi_server, pg_activity):
    async with opened(asgi_server) as socket:
        await begin_to_sleep(socket, pg_activity)
    await eventually(lambda: not pg_activity("in_a_consumer", state="active"))
    await eventually(lambda: idle(pg_activity))
    assert not await Author.objects.aexists()
    assert "took too long to shut down and was killed" in asgi_server.new_log()
    async with opened(asgi_server) as socket:
        assert await ask(socket, "add", name="next") == 1


@served_by(UVICORN, replace(UVICORN, application=STACK))
async def test_a_shutdown_tells_clients_and_consumers(asgi_server):
    async with opened(asgi_server) as socket:
        assert await ask(socket, "add", name="a") == 1
        asgi_server.interrupt()
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(DEADLINE_S):
                await socket.recv()
        assert closed.value.rcvd.code == 1012
        await asyncio.to_thread(asgi_server.process.wait, DEADLINE_S)
    assert "left with 1012, 1 authors" in asgi_server.new_log()
    assert asgi_server.process.returncode in (0, -signal.SIGINT)


# Hypercorn waits for its clients to leave, and Daphne cancels nobody when one connection has no
# application (a KeyError of its own).
@served_by(replace(UVICORN, arguments=("--timeout-graceful-shutdown", "1")))
async def test_a_shutdown_cancels_what_does_not_end(asgi_server, pg_activity):
    async with opened(asgi_server) as socket:
        await begin_to_sleep(socket, pg_activity)
        asgi_server.interrupt()
        await asyncio.to_thread(asgi_server.process.wait, DEADLINE_S)
    await eventually(lambda: not pg_activity("in_a_consumer", state="active"))
    assert idle(pg_activity)
    assert not await Author.objects.aexists()
