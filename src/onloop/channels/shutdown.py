"""The sockets that are open on each event loop: whose time is up, and how all are ended."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from onloop.channels.wire import Wire

if TYPE_CHECKING:
    from onloop.channels.session import Session

Message = MutableMapping[str, Any]


# How many times within its time-out a socket is looked at: it may end by that part of it later.
LOOKS = 16
# Seconds between two looks, however short a time-out is.
LEAST_S = 0.01


class _OfLoop:
    """The sockets of one loop, with one timer for all of them.

    Nothing runs on a loop that has no sockets.
    """

    def __init__(self) -> None:
        self.open: set[Session] = set()
        self.watch: asyncio.Task[None] | None = None
        self._every_s = math.inf
        self._looking: asyncio.TimerHandle | None = None
        # Of no socket: the timer outlives the one with which it began.
        self._context = contextvars.Context()

    def look_after(self, session: Session) -> None:
        """See to it that the timer comes often enough for `session`."""
        every_s = max(session.shortest_s / LOOKS, LEAST_S)
        if every_s < self._every_s:
            self._every_s = every_s
            if self._looking is not None:
                self._looking.cancel()
            self._look_later(asyncio.get_running_loop())

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = loop.call_later(self._every_s, self._look, loop, context=self._context)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.open:
            self._looking, self._every_s = None, math.inf
            return
        self._look_later(loop)  # first, so that no error of one keeps the others from it
        now = loop.time()
        for session in list(self.open):
            session.look(now)


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()


_kept: set[asyncio.Task[None]] = set()


def _of_running_loop() -> _OfLoop:
    loop = asyncio.get_running_loop()
    if loop not in _loops:
        # A timer refers to its loop, so that one would be kept by what is kept for it.
        for closed in [other for other in _loops if other.is_closed()]:
            del _loops[closed]
        _loops[loop] = _OfLoop()
    return _loops[loop]


def opened(session: Session, wire: Wire) -> None:
    """Remember an open socket; where its server says so, watch for that one's end."""
    here = _of_running_loop()
    here.open.add(session)
    here.look_after(session)
    if wire.ending is not None and (here.watch is None or here.watch.done()):
        here.watch = asyncio.get_running_loop().create_task(_watch(wire.ending))


def ended(session: Session) -> None:
    _of_running_loop().open.discard(session)


def keep(task: asyncio.Task[None]) -> None:
    """Keep a task that outlives its socket, until it is done."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)


async def close_sockets() -> None:
    """Close the sockets of the running loop with 1001, and wait until their consumers ended.

    Each has `ONLOOP["SOCKET_CLOSE_TIMEOUT"]` for that, and is cancelled then.
    """
    sessions = list(_of_running_loop().open)
    for session in sessions:
        session.end("going_away")
    if sessions:
        # Others may wait for these futures too: who is cancelled here must not cancel them.
        await asyncio.wait([session.until_over() for session in sessions])


async def _watch(ending: Any) -> None:
    await ending.wait()
    await close_sockets()


def telling_sockets(
    receive: Callable[[], Awaitable[Message]],
) -> Callable[[], Awaitable[Message]]:
    """A lifespan's `receive` that closes the sockets before the project is told to end."""

    async def telling_sockets() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await close_sockets()
        return message

    return telling_sockets
