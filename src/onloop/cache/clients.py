"""The connections of each event loop to the servers of each cache.

Django makes a new cache object for each request; connections belong to none of them, but to the
loop and to the settings that they are made from.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from onloop.cache.flights import Flights

if TYPE_CHECKING:
    from onloop.cache.lane import Command, Lane
    from onloop.cache.options import Server

# Answers that are awaited on each connection, from which on another one is opened.
CROWDED = 16

_clients: dict[asyncio.AbstractEventLoop, dict[Hashable, Client]] = {}
_closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}


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


async def client_for(key: Hashable, make: Callable[[], Sequence[Server]]) -> Client:
    """Return the running loop's client of a cache, made by `make` if there is none."""
    loop = asyncio.get_running_loop()
    try:
        return _clients[loop][key]
    except KeyError:
        pass
    client = Client(make())
    _sweep()
    _clients.setdefault(loop, {})[key] = client
    if loop not in _closers:
        closer = _closers[loop] = _close_with_loop(loop)
        await anext(closer)
    return client


def descriptors() -> frozenset[int]:
    """The sockets of connections that are open, of all loops."""
    return frozenset(
        lane.fileno
        for mine in list(_clients.values())
        for client in list(mine.values())
        for lane in client.open_lanes()
    )


def close_clients(loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections of a loop; what is asked afterwards opens new ones."""
    for client in _clients.pop(loop, {}).values():
        client.close()


async def _close_with_loop(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    """Stay suspended until `asyncio.run` shuts the loop's async generators down."""
    try:
        yield
    finally:
        _closers.pop(loop, None)
        close_clients(loop)
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn


def _sweep() -> None:
    """Forget loops that ended without shutting their generators down."""
    for loop in [loop for loop in list(_clients) if loop.is_closed()]:
        _closers.pop(loop, None)
        close_clients(loop)


def _forget() -> None:
    """In a forked child: its parent's connections are not its own, not even to close."""
    _inherited.append((dict(_clients), dict(_closers)))
    _clients.clear()
    _closers.clear()


# What a fork took over; kept, because a finaliser would speak to the parent's servers.
_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget)
