"""A consumer that fails closes its socket with 1011, on every server.

Servers log the error; uvicorn then cuts the connection, and its client sees a lost network.
"""

from __future__ import annotations

from onloop.channels.origin import Application, Message, Receive, Send

INTERNAL_ERROR = 1011


class CloseOnError:
    """Close an open socket when the application around it raises; the error goes on."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        is_open = False

        async def noting(message: Message) -> None:
            nonlocal is_open
            await send(message)
            if message["type"] == "websocket.accept":
                is_open = True
            elif message["type"] == "websocket.close":
                is_open = False

        noting.__wrapped__ = send  # type: ignore[attr-defined] # for `onloop.channels.wire`
        try:
            await self.inner(scope, receive, noting)
        except Exception:
            if is_open:
                try:
                    await send({"type": "websocket.close", "code": INTERNAL_ERROR})
                except Exception:  # noqa: BLE001 - the client has left; what counts is raised
                    pass
            raise
