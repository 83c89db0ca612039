"""Limits of the bodies of requests to consumers, which Channels keeps in memory as a whole."""

from __future__ import annotations

import asyncio

from onloop.asgi.limits import Limits, of_settings
from onloop.channels.handshake import Application, Message, Receive, Send

TEXTS = {408: b"The body did not come in time.\n", 413: b"The body is too long.\n"}
DISCONNECT = {"type": "http.disconnect"}


class BodyLimitMiddleware:
    """Hold the bodies of HTTP requests to `ONLOOP["MAX_BODY"]` and its time-outs of bodies.

    It stands around consumers of HTTP, in `ProtocolTypeRouter({"http": ...})`. Beyond a limit
    the answer is 413 or 408, and the consumer is told as if its client had left. Requests that
    go on to Onloop's handler are counted there too, by the same settings.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        body = _Body(of_settings(), receive, send)
        await self.inner(scope, body.receive, body.send)


class _Body:
    """The messages of one request, and the response to it."""

    def __init__(self, limits: Limits, receive: Receive, send: Send) -> None:
        self._limits = limits
        self._receive = receive
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + limits.body_timeout
        self._size = 0
        self._complete = False
        self._answered = False
        self._refused = False

    async def receive(self) -> Message:
        if self._refused:
            return dict(DISCONNECT)
        if self._complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        until = min(self._deadline, now + self._limits.chunk_timeout)
        try:
            async with asyncio.timeout_at(until) as limit:
                message = await self._receive()
        except TimeoutError:
            if not limit.expired():
                raise
            return await self._refuse(408)
        if message["type"] == "http.request":
            self._complete = not message.get("more_body", False)
            self._size += len(message.get("body", b""))
            if self._size > self._limits.max_body:
                return await self._refuse(413)
        return message

    async def send(self, message: Message) -> None:
        if not self._refused:
            self._answered = True
            await self._send(message)

    async def _refuse(self, status: int) -> Message:
        self._refused = True
        if not self._answered:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await self._send(
                {"type": "http.response.start", "status": status, "headers": headers}
            )
            await self._send({"type": "http.response.body", "body": TEXTS[status]})
        return dict(DISCONNECT)
