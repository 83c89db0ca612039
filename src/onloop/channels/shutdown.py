"""The sockets that are open on each event loop, and how they are told that the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from onloop.channels.wire import Wire

if TYPE_CHECKING:
    from onloop.channels.session import Session

Message = MutableMapping[str, Any]


class _OfLoop:
    def __init__(self) -> None:
        self.open: set[Session] = set()
        self.watch: asyncio.Task[None] | None = None


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()


_kept: set[asyncio.Task[None]] = set()


def _of_running_loop() -> _OfLoop:
    return _loops.setdefault(asyncio.get_running_loop(), _OfLoop())


def opened(session: Session, wire: Wire) -> None:
    """Remember an open socket; where its server says so, watch for that one's end."""
    here = _of_running_loop()
    here.open.add(session)
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
    for session in sessions:
        await session.until_over()


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
