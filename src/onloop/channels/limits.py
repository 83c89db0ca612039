"""Limits of sockets, for any consumer and any other ASGI application of "websocket"."""

from __future__ import annotations

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
        kind = scope["type"]
        if kind == "lifespan":
            receive = shutdown.telling_sockets(receive)
        if kind != "websocket":
            await self.inner(scope, receive, send)
            return
        owner, most = owner_of(scope)
        if not counts.enter(owner, most):
            counts.note("too_many", shown(scope))
            await refuse(scope, receive, send, code=TRY_AGAIN_LATER, wait_s=RETRY_AFTER_S)
            return
        try:
            await Session(scope, receive, send).serve(self.inner)
        finally:
            counts.leave(owner)


def owner_of(scope: Message) -> tuple[tuple[str, str], int]:
    """A user or an address, whose sockets are counted together, and how many it may have."""
    settings = conf.get()
    user: Any = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        return ("user", str(user.pk)), settings.SOCKET_MAX_PER_USER
    return ("address", client_of(request_of(scope))), settings.SOCKET_MAX_PER_ADDRESS
