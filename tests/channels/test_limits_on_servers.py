"""Limits, tokens and the end of a server, on real servers with real clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from onloop.channels import issue_ticket
from tests.channels.conftest import DEADLINE_S
from tests.channels.raw import CLOSE, RawClient, ports_held
from tests.channels.test_servers import ask, begin_to_sleep, idle, served_by
from tests.db.eventually import eventually
from tests.project.library.models import Author
from tests.servers import Serving
from tests.tokens.people import person

# Limits are those of the socket, whatever the database.
pytestmark = pytest.mark.only_on("postgresql")

PATH = "/sockets/limited/"
LIMITS = {
    "SOCKET_MAX_MESSAGE": 10_000,
    "SOCKET_RATE": 0.001,
    "SOCKET_BURST": 50,
    "SOCKET_MAX_PER_ADDRESS": 5,
    "SOCKET_SEND_TIMEOUT": 1,
    "SOCKET_CONSUMER_TIMEOUT": DEADLINE_S,
    "SOCKET_CLOSE_TIMEOUT": 1,
    "BEARER_MAX_FAILURES": 1000,
}
# For the test that waits for this to be over.
SHORT = {**LIMITS, "SOCKET_CONSUMER_TIMEOUT": 2}
UVICORN = Serving(
    "uvicorn",
    application="tests.project.asgi_limited:application",
    env=(("ONLOOP_TEST_ONLOOP", json.dumps(LIMITS)),),
)
DAPHNE = replace(UVICORN, server="daphne")
HYPERCORN = replace(UVICORN, server="hypercorn")
OTHERS = [
    replace(UVICORN, loop="uvloop"),
    replace(UVICORN, arguments=("--ws", "wsproto")),
]
SERVERS = [UVICORN, DAPHNE, HYPERCORN]
IMPATIENT = [
    replace(serving, env=(("ONLOOP_TEST_ONLOOP", json.dumps(SHORT)),))
    for serving in (*SERVERS, *OTHERS)
]


@contextlib.asynccontextmanager
async def opened(server, path=PATH, *, origin=True, **options):
    async with connect(
        server.url.replace("http", "ws") + path,
        origin=server.url if origin else None,
        open_timeout=DEADLINE_S,
        ping_interval=None,
        close_timeout=2,
        **options,
    ) as socket:
        yield socket


async def code_of(socket):
    async with asyncio.timeout(DEADLINE_S):
        await socket.wait_closed()
    return socket.close_code


async def read(socket):
    """Read until it is closed; how many messages came."""
    count = 0
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            count += 1
    return count


def bearer(text):
    return {"additional_headers": {"Authorization": f"Bearer {text}"}}


# --- tokens -----------------------------------------------------------------------------------


@served_by(*SERVERS, *OTHERS)
async def test_tokens_and_tickets(asgi_server):
    ada = await person("ada")
    async with opened(asgi_server, origin=False, **bearer(ada.text)) as socket:
        assert await ask(socket, "whose") == ["ada", "ada's"]
    async with opened(asgi_server, subprotocols=["bearer", ada.text]) as socket:
        assert socket.subprotocol == "bearer"
        assert await ask(socket, "whose") == ["ada", "ada's"]
    ticket = await issue_ticket(ada.user)
    async with opened(asgi_server, f"{PATH}?ticket={ticket}") as socket:
        assert await ask(socket, "whose") == ["ada", None]
    for path, options in (
        (f"{PATH}?ticket={ticket}", {}),
        (f"{PATH}?token={ada.text}", {}),
        (PATH, bearer("onl_x")),
        (PATH, {"subprotocols": ["bearer", "onl_x"]}),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(asgi_server, path, **options):
                pass
        assert refused.value.response.status_code == 403
    assert "Traceback" not in asgi_server.new_log()


@served_by(*SERVERS)
async def test_of_ten_sockets_with_one_ticket_one_is_let_in(asgi_server):
    ada = await person("ada")
    ticket = await issue_ticket(ada.user)

    async def try_it():
        try:
            async with opened(asgi_server, f"{PATH}?ticket={ticket}") as socket:
                return await ask(socket, "whose")
        except InvalidStatus as refused:
            return refused.response.status_code

    answers = await asyncio.gather(*(try_it() for _ in range(10)))
    assert sorted(map(str, answers)) == ["403"] * 9 + ["['ada', None]"]


@served_by(*SERVERS)
async def test_a_consumer_may_close_with_any_code(asgi_server):
    """By itself, Daphne knows those of applications only."""
    for code in (1000, 1008, 4001):
        async with opened(asgi_server) as socket:
            await socket.send(json.dumps({"do": "close", "code": code}))
            assert await code_of(socket) == code


# --- limits -----------------------------------------------------------------------------------


@served_by(*SERVERS, *OTHERS)
async def test_a_message_that_is_too_big_closes_with_1009(asgi_server):
    async with opened(asgi_server) as socket:
        assert await ask(socket, "echo", text="a" * 9000) == "a" * 9000
        await socket.send("a" * 10_001)
        assert await code_of(socket) == 1009
    await eventually(lambda: "left with 1009" in asgi_server.new_log())


@served_by(*SERVERS, *OTHERS)
async def test_too_many_messages_close_with_1008(asgi_server):
    async with opened(asgi_server) as socket:
        reading = asyncio.create_task(read(socket))
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                await socket.send('{"do": "where"}')
        assert await code_of(socket) == 1008
        assert await reading <= 50
    await eventually(lambda: "left with 1008" in asgi_server.new_log())
    assert "Traceback" not in asgi_server.new_log()


@served_by(*SERVERS, *OTHERS)
@pytest.mark.parametrize("answers", [True, False])
async def test_nothing_is_left_of_a_client_that_goes_on_sending(asgi_server, answers):
    """Whether it answers the closing of its socket, or does not even read it."""
    async with opened(asgi_server) as other:
        await eventually(lambda: len(ports_held(asgi_server.pid)) == 1)
        before = await ask(other, "tasks")
        with RawClient(asgi_server.port, PATH) as client:
            with contextlib.suppress(ConnectionError):
                for _ in range(500):
                    client.say("where")
                if answers:
                    client.frame(b"\x03\xf0", CLOSE)
            await eventually(lambda: client.port not in ports_held(asgi_server.pid))
        for number in range(40):  # fewer than it may ask
            if (tasks := await ask(other, "tasks")) <= before:
                break
            await asyncio.sleep(0.1 if number < 20 else 1)
        assert tasks <= before


@served_by(*SERVERS)
async def test_too_many_sockets_are_refused(asgi_server):
    async def status():
        try:
            async with opened(asgi_server):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(opened(asgi_server))
        assert await status() == (403 if asgi_server.serving.server == "daphne" else 429)
    async with asyncio.timeout(DEADLINE_S):
        while await status() != 101:
            await asyncio.sleep(0.05)


@served_by(*IMPATIENT)
async def test_a_consumer_that_is_stuck_is_told_and_cancelled(asgi_server, pg_activity):
    async with opened(asgi_server) as socket:
        await begin_to_sleep(socket, pg_activity)
        assert await code_of(socket) == 1013
    await eventually(lambda: not pg_activity("in_a_consumer", state="active"))
    await eventually(lambda: idle(pg_activity))
    assert not await Author.objects.aexists()
    assert "Traceback" not in asgi_server.new_log()


@served_by(*SERVERS, *OTHERS)
async def test_who_does_not_read_is_closed_and_its_connection_ends(asgi_server, db_clean):
    async with opened(asgi_server) as other:
        before = await ask(other, "stats")
        with RawClient(asgi_server.port, PATH, small=True) as slow:
            assert slow.status == 101
            slow.say("push", count=1000, size=65_536)
            await eventually(lambda: "left with 1008" in asgi_server.new_log())
            await eventually(lambda: slow.port not in ports_held(asgi_server.pid))
        after = await ask(other, "stats")
    assert after["slow"] == before["slow"] + 1
    assert "Traceback" not in asgi_server.new_log()


# --- the end ----------------------------------------------------------------------------------

CODES = {"uvicorn": 1012, "daphne": 1001, "hypercorn": 1001}


@served_by(*SERVERS)
async def test_a_server_that_ends_tells_clients_and_consumers(asgi_server, db_clean):
    async with opened(asgi_server) as socket:
        assert await ask(socket, "add", name="a") == 1
        # Daphne takes a second to forget the request that became a socket, and before it does
        # it ends no application.
        await asyncio.sleep(2.5 if asgi_server.serving.server == "daphne" else 0)
        asgi_server.process.terminate()
        code = CODES[asgi_server.serving.server]
        assert await code_of(socket) == code
        await asyncio.to_thread(asgi_server.process.wait, DEADLINE_S)
    assert f"left with {code}, 1 authors" in asgi_server.new_log()
    assert "Traceback" not in asgi_server.new_log()


@served_by(DAPHNE, HYPERCORN, replace(UVICORN, arguments=("--timeout-graceful-shutdown", "1")))
async def test_and_cancels_what_does_not_end(asgi_server, pg_activity):
    async with opened(asgi_server) as socket:
        await asyncio.sleep(2.5 if asgi_server.serving.server == "daphne" else 0)
        await begin_to_sleep(socket, pg_activity)
        asgi_server.process.terminate()
        await asyncio.to_thread(asgi_server.process.wait, DEADLINE_S)
    await eventually(lambda: not pg_activity("in_a_consumer", state="active"))
    assert idle(pg_activity)
    assert not await Author.objects.aexists()
