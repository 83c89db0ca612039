"""One line a request on the logger `django.server`, as of Django's own development server."""

from __future__ import annotations

import logging
from datetime import datetime
from urllib.parse import quote

from onloop.devserver.application import Application, Message, Receive, Send

logger = logging.getLogger("django.server")


class RequestLog:
    """An ASGI application around another, which logs what that one has answered."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        status: int | None = None
        size = 0

        async def noting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and scope["method"] != "HEAD":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.application(scope, receive, noting)
        except Exception:
            status = status or 500  # what the server answers
            raise
        finally:
            # Without one the client has left before there was an answer.
            if status is not None:
                line = f"{scope['method']} {_target(scope)} HTTP/{scope['http_version']}"
                _log(status, '"%s" %s %s', line, status, size)

    async def _websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        client = scope.get("client") or ("unknown", 0)
        where = (_target(scope), f"{client[0]}:{client[1]}")
        accepted = False

        async def noting(message: Message) -> None:
            nonlocal accepted
            await send(message)
            if message["type"] == "websocket.accept":
                accepted = True
                _log(101, "WebSocket CONNECT %s [%s]", *where)
            elif message["type"] == "websocket.close" and not accepted:
                _log(403, "WebSocket REJECT %s [%s]", *where)

        try:
            await self.application(scope, receive, noting)
        finally:
            if accepted:
                _log(101, "WebSocket DISCONNECT %s [%s]", *where)


def _target(scope: Message) -> str:
    """The path with its query, as the client has sent it."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    query = scope.get("query_string", b"").decode("latin-1")
    target = f"{path}?{query}" if query else path
    # Nothing that a client sends may look like another line of the log.
    return target.encode("unicode_escape").decode("ascii")


def _log(status: int, message: str, *arguments: object) -> None:
    level = logging.INFO
    if status >= 500:
        level = logging.ERROR
    elif status >= 400:
        level = logging.WARNING
    # What Django's formatter looks for; local time, as from its own server.
    now = datetime.now().strftime("%d/%b/%Y %H:%M:%S")  # noqa: DTZ005
    logger.log(level, message, *arguments, extra={"status_code": status, "server_time": now})
