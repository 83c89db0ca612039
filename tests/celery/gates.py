"""Where tasks in a worker meet the test: counters and gates in Redis.

A task says that it is there and waits until the test, which has seen all of them, opens.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from weakref import WeakKeyDictionary

import psutil
import redis
import redis.asyncio

from tests.celery.app import URL

LOOK_S = 0.02
DEADLINE_S = 90

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()


def client() -> Any:
    """The running loop's own client, of a few connections."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            URL, max_connections=10, timeout=DEADLINE_S
        )
        _clients[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _clients[loop]


async def note(gate: str, what: str) -> None:
    """Tell the test, which asks `Gate.noted(what)`."""
    await client().hincrby(gate, what, 1)


async def arrive(gate: str) -> None:
    """Say that one more is there, and wait until the gate is open."""
    await note(gate, "here")
    while not await client().hexists(gate, "open"):
        await asyncio.sleep(LOOK_S)
    await note(gate, "left")


def arrive_blocking(gate: str) -> None:
    """As `arrive`, for a thread."""
    blocking = redis.Redis.from_url(URL)
    blocking.hincrby(gate, "here", 1)
    while not blocking.hexists(gate, "open"):
        time.sleep(LOOK_S)
    blocking.hincrby(gate, "left", 1)
    blocking.close()


class Gate:
    """The test's side. `str(gate)` goes to the tasks."""

    def __init__(self, server: redis.Redis, name: str) -> None:
        self._server = server
        self.name = name

    def __str__(self) -> str:
        return self.name

    def noted(self, what: str) -> int:
        return int(self._server.hget(self.name, what) or 0)

    def open(self) -> None:
        self._server.hset(self.name, "open", 1)

    def wait_for(self, count: int, what: str = "here") -> None:
        """Until `count` are noted; fails if they do not come."""
        deadline = time.monotonic() + DEADLINE_S
        while (seen := self.noted(what)) < count:
            assert time.monotonic() < deadline, f"{what}: {seen} of {count}"
            time.sleep(LOOK_S)
        assert seen == count, f"{what}: {seen}, and not {count}"

    def unacked(self, queue: str) -> set[str]:
        """The ids of tasks of this queue that were handed to a worker and not acknowledged."""
        kept = map(json.loads, self._server.hvals("unacked"))
        return {message["headers"]["id"] for message, _, key in kept if key == queue}

    def cut_connections(self, pid: int) -> None:
        """Those of a process with Redis; it may connect again."""
        theirs = {each.laddr.port for each in psutil.Process(pid).net_connections("tcp")}
        for client in self._server.client_list():
            if int(client["addr"].rpartition(":")[2]) in theirs:
                self._server.client_kill_filter(_id=client["id"])

    def make_overdue(self) -> None:
        """As if the broker's `visibility_timeout` were over for all that is unacknowledged.

        A worker that starts then takes it over.
        """
        for tag in self._server.zrange("unacked_index", 0, -1):
            self._server.zadd("unacked_index", {tag: 0})
