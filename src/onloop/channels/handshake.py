"""The handshake of a socket, read: as a request, and what to answer where it is refused."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.handlers.asgi import ASGIRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_SHOWN = 200

# Of headers that say nothing of who the client is, and that Django would look into.
_LEFT_OUT = (b"content-type", b"content-length", b"cookie")


def request_of(scope: Message) -> ASGIRequest:
    """The handshake as a request, for what names the address of a request's client."""
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    request_scope = {
        "method": "GET",
        "path": scope.get("path", "/"),
        "headers": [header for header in headers if header[0] not in _LEFT_OUT],
        "client": scope.get("client"),
        "server": scope.get("server"),
    }
    return ASGIRequest(request_scope, io.BytesIO())


def shown(scope: Message) -> str:
    """The address of a socket for a log: without its query, without line breaks."""
    return ascii(str(scope.get("path", ""))[:MAX_SHOWN])[1:-1]


async def refuse(
    scope: Message, receive: Receive, send: Send, *, code: int, wait_s: int = 0
) -> None:
    """Refuse a socket before it is accepted: 403, or 429 where it may come again later.

    `wait_s`: seconds until then. Of servers that cannot give answers of one's own it is 403.
    """
    await receive()
    if wait_s and "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [(b"content-type", b"text/plain"), (b"retry-after", str(wait_s).encode())]
        await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"Too many.\n"})
    else:
        await send({"type": "websocket.close", "code": code})
