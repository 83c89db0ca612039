"""The connections of each event loop to the servers of each cache.

Django makes a new cache object for each request; connections belong to none of them, but to the
loop and to the settings that they are made from.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from onloop.cache.flights import Flights
from onloop.perloop import PerLoop

if TYPE_CHECKING:
    from onloop.cache.lane import Command, Lane
    from onloop.cache.options import Server

# Answers that are awaited on each connection, from which on another one is opened.
CROWDED = 16


class _Lanes:
    """The open connections to one server, and the attempt to open another one."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.open: list[Lane] = []
        self._opening: asyncio.Task[Any] | None = None

    def best(self) -> Lane | None:
        """The one with the fewest answers to come; where all have many, open another."""
        found: Lane | None = None
        for lane in self.open:
            if not lane.is_usable():
                self.open = [other for other in self.open if other.is_usable()]
                return self.best()
            if found is None or lane.load < found.load:
                found = lane
        if (
            found is not None
            and found.load >= CROWDED
            and len(self.open) < self.server.max_connections
        ):
            self._begin()
        return found

    async def first(self) -> Lane:
        """Wait for the connection that is being opened, with all others who wait for it.

        It is opened by a task of its own, so that nobody who is cancelled takes it along.
        """
        opening = self._begin()
        await asyncio.wait((opening,))
        if opening.cancelled():
            from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: PLC0415

            raise RedisConnectionError(
                f"The connection to {self.server.place} was not opened: its event loop ends."
            )
        lane: Lane = opening.result()
        return lane

    def _begin(self) -> asyncio.Task[Any]:
        from onloop.cache.lane import background  # noqa: PLC0415 - it needs `redis`

        if self._opening is None:
            loop = asyncio.get_running_loop()
            task = self._opening = background(
                loop, self._open(), f"connect to {self.server.place}"
            )
            task.add_done_callback(self._opened)
        return self._opening

    async def _open(self) -> Lane:
        from onloop.cache.lane import open_lane  # noqa: PLC0415 - it needs `redis`

        server = self.server
        lane = await open_lane(server.make, server.connect_s, server.answer_s, server.place)
        self.open.append(lane)
        return lane

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # there may be nobody any more who waits for it

    def close(self) -> None:
        if self._opening is not None and not self._opening.get_loop().is_closed():
            self._opening.cancel()
        for lane in self.open:
            lane.close("the cache is closed")
        self.open = []


class Client:
    """What one event loop has to do with the servers of one cache.

    The first server is written to; the others, where there are any, are read from.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._lanes = [_Lanes(server) for server in servers]
        self.flights: Flights[Any] = Flights()

    async def ask(self, *commands: Command, write: bool) -> list[Any]:
        """Send commands in one piece; return their answers, of which some may be errors.

        Raises redis' own `ConnectionError` or `TimeoutError`, within its time-outs.
        """
        lanes = self._lanes[0 if write or len(self._lanes) == 1 else self._any_reader()]
        lane = lanes.best() or await lanes.first()
        return await lane.ask(commands)

    def _any_reader(self) -> int:
        return random.randint(1, len(self._lanes) - 1)  # noqa: S311 - no secret

    def open_lanes(self) -> list[Lane]:
        return [lane for lanes in self._lanes for lane in lanes.open]

    def close(self) -> None:
        for lanes in self._lanes:
            lanes.close()


Clients = dict[Hashable, Client]


async def _close(mine: Clients) -> None:
    for client in mine.values():
        client.close()
    mine.clear()
    await asyncio.sleep(0)  # transports close their sockets in the loop's next turn


# Closed with the loop: by the lifespan, or the end of `asyncio.run`.
_of_loop: PerLoop[Clients] = PerLoop("A cache on Redis", dict, _close)


def client_for(key: Hashable, make: Callable[[], Sequence[Server]]) -> Client:
    """Return the running loop's client of a cache, made by `make` if there is none."""
    mine = _of_loop.get()
    client = mine.get(key)
    if client is None:
        client = mine[key] = Client(make())
    return client


def descriptors() -> frozenset[int]:
    """The sockets of connections that are open, of all loops."""
    return frozenset(
        lane.fileno
        for mine in list(_of_loop._made.values())
        for client in list(mine.values())
        for lane in client.open_lanes()
    )
