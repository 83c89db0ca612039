"""The harness of R14: sockets in rooms of two servers, killed without a word, and one server.

A killed client resets its connection; another comes in its place. At the end one of the servers
is killed as well. Then nobody may be told to be there who is not, no group may hold a channel
that nobody reads, and what is sent to each room must reach all who are left, once and in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable

import psutil
from redis import Redis
from websockets.exceptions import ConnectionClosed

from onloop import bridge, rooms
from onloop.rooms import presence
from onloop.rooms.wire import group_of
from tests.reliability.findings import Findings
from tests.reliability.scale import HANG_S
from tests.rooms.visitors import RemoteVisitor
from tests.servers import AsgiServer

SENT = 5


class Client:
    def __init__(self, number: int, server: AsgiServer, room: str) -> None:
        self.name = f"client-{number}"
        self.server = server
        self.room = room
        self.visitor = RemoteVisitor(server, room, who=self.name)
        self.reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.visitor.__aenter__()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Without a deadline: in the full form nothing comes for twenty seconds and more."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self.visitor.remote:
                self.visitor.frames.append(json.loads(text))

    async def kill(self) -> None:
        """Reset the connection: the server gets no close frame, nor a FIN."""
        self.visitor.remote.transport.abort()
        assert self.reading is not None
        self.reading.cancel()
        await asyncio.wait([self.reading])


class RoomCrowd:
    """`sockets` clients at once in `count` rooms; `kills` of them are killed, in waves."""

    def __init__(
        self,
        findings: Findings,
        servers: list[AsgiServer],
        redis: Redis,
        *,
        sockets: int,
        kills: int,
        wave: int,
        kills_per_s: float,
        heals_s: float,
        count: int,
    ) -> None:
        self.findings = findings
        self.servers = servers
        self.redis = redis
        self.rooms = [f"room-{number}" for number in range(count)]
        self.clients: list[Client] = []
        self._sockets, self._kills, self._wave = sockets, kills, wave
        self._pause_s = wave / kills_per_s
        self._heals_s = heals_s
        self._chance = random.Random(14)
        self._number = 0
        self._longest_s = 0.0

    async def run(self) -> None:
        lives, dies = self.servers
        process = psutil.Process(lives.pid)
        async with asyncio.timeout(HANG_S):
            await self._come(1)
            await self._go(self.clients[0])
            before = process.num_fds()
            await self._come(self._sockets)
            began = time.monotonic()
            for _ in range(0, self._kills, self._wave):
                await self._kill_a_wave()
            took_s = time.monotonic() - began
            self.findings.measured["killed a second, successors included"] = (
                self._kills / took_s
            )
            dies.process.kill()
            dies.process.wait()
            self.findings.counts["servers killed"] += 1
            for client in [client for client in self.clients if client.server is dies]:
                await self._go(client)
            await self._judge_orphans()
            await self._judge_delivery()
            while self.clients:
                await self._go(self.clients[0])
            if not await self._heals(lambda: self._no_more_than(before, process)):
                self.findings.add("left behind: descriptors", process.num_fds() - before)
            self.findings.measured["survivor MiB"] = process.memory_info().rss / 2**20

    async def _come(self, count: int) -> None:
        async def one() -> None:
            client = Client(
                self._number,
                self.servers[self._number % 2],
                self.rooms[self._number // 2 % len(self.rooms)],
            )
            self._number += 1
            await client.open()
            self.clients.append(client)
            self.findings.counts["sockets"] += 1

        for begin in range(0, count, 50):  # of what a server's backlog holds
            async with asyncio.TaskGroup() as group:
                for _ in range(min(50, count - begin)):
                    group.create_task(one())

    async def _go(self, client: Client) -> None:
        self.clients.remove(client)
        await client.kill()

    async def _kill_a_wave(self) -> None:
        began = time.monotonic()
        for client in self._chance.sample(self.clients, self._wave):
            await self._go(client)
            self.findings.counts["sockets killed"] += 1
        self._longest_s = max(self._longest_s, time.monotonic() - began)
        self.findings.measured["longest wave of kills s"] = self._longest_s
        await self._come(self._wave)
        await asyncio.sleep(max(0, self._pause_s - (time.monotonic() - began)))

    # --- what is left -----------------------------------------------------------------------

    async def _heals(self, check: Callable[[], Awaitable[bool]]) -> bool:
        deadline = time.monotonic() + self._heals_s
        while not await check():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _no_more_than(self, before: int, process: psutil.Process) -> bool:
        # A pool, of which each connection of SQLite has three files; a connection to Redis,
        # the server's own keep-alive ones.
        return process.num_fds() <= before + 30

    async def _judge_orphans(self) -> None:
        began = time.monotonic()

        async def healed() -> bool:
            return not await self._orphans() and not self._group_orphans()

        await self._heals(healed)
        self.findings.measured["until no orphan is left s"] = time.monotonic() - began
        for what in await self._orphans():
            self.findings.add("orphan in presence", what)
        for what in self._group_orphans():
            self.findings.add("orphan in groups", what)

    async def _orphans(self) -> set[tuple[str, str]]:
        """Who is told to be in a room and is not, and the other way round."""
        told = await bridge.run(presence.read, self.rooms)
        there = {(room, who) for room, names in told.items() for who in names}
        return there ^ {(client.room, client.name) for client in self.clients}

    def _group_orphans(self) -> list[str]:
        """Each room has one channel of the living server."""
        found = []
        for room in self.rooms:
            channels = self.redis.zrange(f"asgi:group:{group_of(room)}", 0, -1)
            wanted = len({client.server.pid for client in self.clients if client.room == room})
            if len(channels) != wanted:
                found.append(f"{room}: {len(channels)} channels, not {wanted}")
        return found

    async def _judge_delivery(self) -> None:
        """What is sent to each room reaches all who are left, once and in order."""
        began = time.monotonic()
        for number in range(SENT):
            for room in self.rooms:
                await rooms.asend(room, number)
        wanted = list(range(1, SENT + 1))
        self.findings.measured["sending took s"] = time.monotonic() - began

        async def all_heard() -> bool:
            return all(client.visitor.seen() == wanted for client in self.clients)

        began = time.monotonic()
        heard = await self._heals(all_heard)
        self.findings.measured["until all have heard s"] = time.monotonic() - began
        if not heard:
            for client in self.clients:
                if client.visitor.seen() != wanted:
                    self.findings.add("not delivered", (client.name, client.visitor.seen()))
        self.findings.counts["delivered"] += len(self.clients) * SENT
