"""What servers know of a socket's connection and ASGI has no word for.

How much is waiting to be sent, that the server is ending, and how to be rid of a client that
does not read: closing waits until everything was read, which may be never. Each server is
asked in its own way, found by the `send` that it gave. Of an unknown one nothing is known.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

NORMAL_CLOSURE = 1000
# Bytes that may wait to be sent before `drained` waits: where asyncio's transports begin to.
HIGH_WATER = 64 * 1024
# Seconds between two looks at a buffer that nothing else tells of.
LOOK_EVERY_S = 0.05


class Wire:
    """The connection below one socket; this one is unknown."""

    # Whether the server stops reading, even for the client's end, where nobody takes messages.
    waits_for_takers = False

    # Whether `send` itself waits for a client that does not read.
    sends_wait = True

    def abort(self) -> bool:
        """End the connection at once, whatever was not sent yet; False if that cannot be."""
        return False

    async def close(self, send: Send, message: Message) -> None:
        """Have the server send a `websocket.close`."""
        await send(message)

    def buffered(self) -> int:
        """Bytes that the client was not ready to take."""
        return 0

    async def drained(self) -> None:
        """Wait until there is room for more."""
        while self.buffered() > HIGH_WATER:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def ending(self) -> Any:
        """An object whose `wait()` returns when the server ends; None: it tells by itself."""
        return None


class _Transport(Wire):
    """uvicorn: its three protocols have an asyncio transport, and tell when they end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def abort(self) -> bool:
        self._transport.abort()
        return True

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()


class _Ending(Wire):
    """Hypercorn waits for open sockets when it ends, and tells them nothing.

    In HTTP/2 many streams share a connection, which one of them must not end.
    """

    waits_for_takers = True

    def __init__(self, context: Any) -> None:
        self._context = context

    @property
    def ending(self) -> Any:
        return self._context.terminated


class _Hypercorn(_Transport):
    """The same with HTTP/1, where a socket has its connection for itself."""

    waits_for_takers = True

    def __init__(self, transport: asyncio.Transport, context: Any) -> None:
        super().__init__(transport)
        self._context = context

    @property
    def ending(self) -> Any:
        return self._context.terminated


class _Daphne(Wire):
    """Daphne's `send` never waits: what a client does not read is kept, however much it is."""

    sends_wait = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport

    def abort(self) -> bool:
        self._transport.abortConnection()
        return True

    async def close(self, send: Send, message: Message) -> None:
        """By the frame itself, as Daphne does: its `send` knows 1000 and 3000 to 4999 only."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            reason = (message.get("reason") or "").encode()
            self._protocol.sendCloseFrame(message.get("code", NORMAL_CLOSURE), reason)
        else:
            await send(message)

    def buffered(self) -> int:
        layer = self._transport
        while (below := getattr(layer, "transport", None)) is not None:
            layer = below  # TLS stands above the connection
        if getattr(layer, "disconnected", False):
            return 0
        unsent = len(getattr(layer, "dataBuffer", b"")) - getattr(layer, "offset", 0)
        return max(0, unsent) + int(getattr(layer, "_tempDataLen", 0))


def wire_of(send: Callable[..., Awaitable[None]]) -> Wire:
    """Return the connection behind `send`, through the middleware that is known."""
    servers = _innermost(send)
    owner = getattr(servers, "__self__", None)
    module = type(owner).__module__
    if isinstance(servers, functools.partial):
        owner = getattr(servers.func, "__self__", None)
        if type(owner).__module__.startswith("daphne."):
            return _of_daphne(servers.args)
    elif module.startswith("uvicorn."):
        return _of_transport(getattr(owner, "transport", None))
    elif module.startswith("hypercorn."):
        return _of_hypercorn(owner)
    return Wire()


def _innermost(send: Any) -> Any:
    """What Onloop's and Channels' middleware have put their own `send` around."""
    while True:
        if (wrapped := getattr(send, "__wrapped__", None)) is not None:
            send = wrapped
        elif (real := getattr(getattr(send, "__self__", None), "real_send", None)) is not None:
            send = real
        else:
            return send


def _of_transport(transport: Any) -> Wire:
    wanted = ("abort", "get_write_buffer_size")
    return _Transport(transport) if all(hasattr(transport, name) for name in wanted) else Wire()


def _of_daphne(arguments: Any) -> Wire:
    protocol = arguments[0] if arguments else None
    transport = getattr(protocol, "transport", None)
    if hasattr(transport, "abortConnection") and hasattr(protocol, "sendCloseFrame"):
        return _Daphne(protocol)
    return Wire()


def _of_hypercorn(stream: Any) -> Wire:
    """By the methods that Hypercorn's layers hand to each other, down to its writer."""
    context = getattr(stream, "context", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    writer = getattr(server, "writer", None)
    transport = getattr(writer, "transport", None)
    if not hasattr(context, "terminated"):
        return Wire()
    if type(protocol).__name__ != "H11Protocol" or transport is None:
        return _Ending(context)
    return _Hypercorn(transport, context)
