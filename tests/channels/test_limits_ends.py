"""How sockets end from outside: the server ends, or cancels them."""

from __future__ import annotations

import asyncio

from onloop.channels import close_sockets
from onloop.channels.counts import counts
from tests.asgi.conftest import borrowed
from tests.channels.limited import (
    Echo,
    Sleeps,
    closed_with,
    left,
    limited,
    setting,
)
from tests.channels.played import Played
from tests.project.library.models import Author


async def test_all_sockets_are_closed_when_the_server_ends(db_clean, noted):
    async with Played(limited()) as one, Played(limited()) as two:
        for server in (one, two):
            await server.until_sent("websocket.accept")
        await close_sockets()
        assert (one.task.done(), two.task.done()) == (True, True)
        assert [server.sent[-1]["code"] for server in (one, two)] == [1001, 1001]
    assert left == [1001, 1001]


async def test_of_two_who_close_the_sockets_one_may_be_cancelled(db_clean, noted):
    async with Played(limited(LeavesSlowly)) as server:
        await server.until_sent("websocket.accept")
        one, two = (asyncio.create_task(close_sockets()) for _ in range(2))
        await server.until_sent("websocket.close")
        one.cancel()
        await asyncio.wait({one})
        with setting(CLOSE_TIMEOUT=0.1):
            await asyncio.sleep(0)
        assert not two.done()
        server.task.cancel()
        await two
        assert server.task.done()


async def test_the_end_of_the_lifespan_closes_them_before_the_project_ends(db_clean, noted):
    seen = []

    async def project(scope, receive, send):
        while True:
            message = await receive()
            seen.append((message["type"], list(left)))
            if message["type"] == "lifespan.shutdown":
                return

    incoming = asyncio.Queue()
    lifespan = asyncio.create_task(limited(project)({"type": "lifespan"}, incoming.get, None))
    async with Played(limited()) as server:
        await server.until_sent("websocket.accept")
        incoming.put_nowait({"type": "lifespan.startup"})
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
    assert seen == [("lifespan.startup", []), ("lifespan.shutdown", [1001])]


async def test_a_server_that_cancels_lets_a_waiting_consumer_leave(db_clean, noted):
    async with Played(limited()) as server:
        await server.until_sent("websocket.accept")
        server.task.cancel()
        await closed_with(server, 1001)
        assert server.task.cancelled()
    assert left == [1001]


async def test_and_cancels_one_that_is_busy(db_clean, noted):
    async with Played(limited(Sleeps)) as server:
        server.say("sleep")
        await server.until_sent("websocket.send")
        server.task.cancel()
        await server.ended()
        assert server.task.cancelled()
    assert not await Author.objects.aexists()
    assert borrowed() == {}


class LeavesSlowly(Echo):
    async def disconnect(self, code):
        left.append(code)
        await asyncio.sleep(3600)


async def test_a_client_that_leaves_without_a_code(db_clean, noted):
    async with Played(limited()) as server:
        server.feed({"type": "websocket.disconnect"})
        await server.ended()
    assert left == [1005]


async def test_a_second_cancellation_is_urgent(db_clean, noted):
    async with Played(limited(LeavesSlowly)) as server:
        await server.until_sent("websocket.accept")
        server.task.cancel()
        await server.until_sent("websocket.close")
        while not left:
            await asyncio.sleep(0)
        server.task.cancel()
        await server.ended()
        assert server.task.cancelled()


async def test_a_consumer_that_does_not_leave_is_cancelled(db_clean, noted):
    with setting(CLOSE_TIMEOUT=0.1):
        async with Played(limited(LeavesSlowly)) as server:
            await server.until_sent("websocket.accept")
            await close_sockets()
            assert server.task.done()
    assert noted("cancelled") == 1


async def test_other_protocols_pass(noted):
    async def application(scope, receive, send):
        seen.append((scope, receive, send))

    seen = []
    await limited(application)({"type": "http"}, 1, 2)
    assert seen == [({"type": "http"}, 1, 2)]


def test_the_log_tells_of_a_kind_once_in_a_while(caplog, monkeypatch):
    monkeypatch.setattr(counts, "_told_at", {})
    for _ in range(5):
        counts.note("slow", "/a/")
    assert len(caplog.records) == 1
    assert "SOCKET_SEND_TIMEOUT" in caplog.text
