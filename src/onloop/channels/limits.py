"""Limits of sockets, for any consumer and any other ASGI application of "websocket"."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from onloop import conf
from onloop.channels import shutdown
from onloop.channels.counts import counts
from onloop.channels.ends import TRY_AGAIN_LATER
from onloop.channels.handshake import (
    Message,
    Receive,
    Send,
    refuse,
    request_of,
    shown,
)
from onloop.channels.session import Session
from onloop.tokens.failures import client_of

# Seconds after which a client that has too many sockets may try again.
RETRY_AFTER_S = 10


class SocketLimitsMiddleware:
    """Hold sockets to the settings in `ONLOOP` that begin with `SOCKET_`.

    It stands behind what tells `scope["user"]`. Of a lifespan it only sees the end, at which it
    closes the sockets that are still open; anything else passes.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            receive = shutdown.telling_sockets(receive)
        if scope["type"] != "websocket":
            await self.inner(scope, receive, send)
            return
        session = session_of(scope, receive, send)
        if session is None:
            await _refuse(scope, receive, send)
            return
        # In this coroutine, since any other would be kept for as long as the socket lives.
        cancelled = None
        try:
            session.begin(self.inner)
            try:
                await session.stopped
            except asyncio.CancelledError as exc:
                cancelled = exc
            await session.conclude(cancelled)
        finally:
            session.leave()
            del cancelled, session


def _refuse(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
    return refuse(scope, receive, send, code=TRY_AGAIN_LATER, wait_s=RETRY_AFTER_S)


def session_of(scope: Message, receive: Receive, send: Send) -> Session | None:
    """The session of a socket, which is counted as its owner's; None if there are too many."""
    owner, most = owner_of(scope)
    session = Session(scope, receive, send, owner)
    if counts.enter(owner, most):
        return session
    counts.note("too_many", shown(scope))
    return None


def owner_of(scope: Message) -> tuple[tuple[str, str], int]:
    """A user or an address, whose sockets are counted together, and how many it may have."""
    settings = conf.get()
    user: Any = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        return ("user", str(user.pk)), settings.SOCKET_MAX_PER_USER
    return ("address", client_of(request_of(scope))), settings.SOCKET_MAX_PER_ADDRESS
