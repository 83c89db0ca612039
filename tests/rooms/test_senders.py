"""One function each way to send to a room, from any kind of code, to sockets of any process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

import httpx
import pytest

from tests.channels.conftest import DEADLINE_S
from tests.postgres import ROOT
from tests.rooms.conftest import LONG, SHORT
from tests.rooms.processes import serving
from tests.rooms.visitors import RemoteVisitor

KINDS = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
WAYS = ["by_async_view", "by_sync_view", "by_sync_view_on_loop", "by_task", "by_thread",
        "by_to_thread"]  # fmt: skip
IN_MEMORY = {"BACKEND": "onloop.channels.layers.InMemoryChannelLayer"}


@pytest.fixture
async def get():
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:

        async def get_(server, way, body):
            answer = await http.get(f"{server.url}/sockets/{way}/lobby/", params={"body": body})
            assert answer.status_code == 200, answer.text
            return answer.text

        yield get_


async def all_ways(get, servers, visitors):
    """Send in each way to each server, and let all hear all of it, without a heartbeat."""
    for server in servers:
        for way in WAYS:
            await get(server, way, way)
    last = len(WAYS) * len(servers)
    for visitor in visitors:
        assert await visitor.numbers(last) == list(range(1, last + 1))
    await get(servers[0], "and_roll_back", "never heard")
    for way in ("announce", "announce_sync"):
        await get(servers[0], way, way)
        for visitor in visitors:
            assert (await visitor.next_of("noise", "message"))["what"] == way
    assert {frame["body"] for frame in visitors[0].frames if frame["type"] == "message"} == {
        *WAYS
    }


async def test_one_process_in_memory(asgi_servers, db_clean, get):
    server = asgi_servers.get(serving("memory", IN_MEMORY, LONG))
    async with RemoteVisitor(server, "lobby") as ada, RemoteVisitor(server, "lobby") as bob:
        await all_ways(get, [server], [ada, bob])


@pytest.mark.parametrize("kind", KINDS)
async def test_two_processes_on_redis(asgi_servers, db_clean, redis_server, get, kind):
    servers = [asgi_servers.get(serving(name, redis_server.layer(kind), LONG)) for name in "ab"]
    async with contextlib.AsyncExitStack() as stack:
        visitors = [
            await stack.enter_async_context(RemoteVisitor(server, "lobby"))
            for server in servers
        ]
        await all_ways(get, servers, visitors)
        last = 2 * len(WAYS)
        await by_command(redis_server.layer(kind))
        for visitor in visitors:
            assert await visitor.numbers(last + 1) == list(range(1, last + 2))


async def by_command(layer):
    """What a command of `manage.py` does: Django set up, and no event loop."""
    code = (
        "import django; django.setup(); from onloop import rooms;"
        " rooms.send('lobby', 'by a command'); rooms.announce('lobby', 'noise', what=1)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code),
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.project.settings",
            "ONLOOP_TEST_LAYER": json.dumps(layer),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert not errors, errors.decode()


async def test_without_a_shared_layer_saved_messages_come_with_the_heartbeat(
    asgi_servers, db_clean, get
):
    servers = [asgi_servers.get(serving(name, IN_MEMORY, SHORT)) for name in "ab"]
    async with RemoteVisitor(servers[0], "lobby") as ada:
        await get(servers[1], "by_async_view", "from next door")
        assert await ada.numbers(1) == [1]


@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_there_heals_when_a_process_is_killed(
    asgi_servers, db_clean, redis_server, kind
):
    from onloop import rooms

    layer = redis_server.layer(kind, **({"group_expiry": 2} if kind == KINDS[0] else {}))
    lives, dies = (asgi_servers.get(serving(name, layer, SHORT)) for name in ("lives", "dies"))
    async with (
        RemoteVisitor(lives, "lobby", who="ada") as ada,
        RemoteVisitor(dies, "lobby", who="bob") as bob,
    ):
        while "bob" not in (await ada.next_of("presence"))["joined"]:
            pass
        # Ada might be thought dead for a moment, where her server stood still.
        assert "bob" in bob.frames[0]["present"]
        dies.process.kill()
        dies.process.wait()
        while "bob" not in (await ada.next_of("presence"))["left"]:
            pass
    async with asyncio.timeout(DEADLINE_S):
        while await rooms.apresent("lobby"):
            await asyncio.sleep(0.01)
