"""A server's side of one socket, played by hand: how long `send` takes is the test's to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.channels.conftest import DEADLINE_S

Message = dict[str, Any]


class Played:
    """`async with Played(application) as server:`, which has sent `websocket.connect`.

    `sent` are the application's messages. After `stop_reading()` its `send` does not return.
    """

    def __init__(self, application: Callable[..., Any], **scope: Any) -> None:
        self.scope = {
            "type": "websocket", "path": "/", "query_string": b"", "headers": [],
            "subprotocols": [], "client": ("127.0.0.1", 50000), "server": ("testserver", 80),
            **scope,
        }  # fmt: skip
        self.sent: list[Message] = []
        self._application = application
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._reads = asyncio.Event()
        self._reads.set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Played:
        self.feed({"type": "websocket.connect"})
        self.task = asyncio.create_task(
            self._application(self.scope, self._incoming.get, self._send)
        )
        return self

    async def __aexit__(self, *raised: object) -> None:
        if not self.task.done():
            self.feed({"type": "websocket.disconnect", "code": 1000})
            await asyncio.wait([self.task], timeout=DEADLINE_S)
            assert self.task.done(), "the application does not end"
        if not raised[0] and not self.task.cancelled():
            self.task.result()

    def feed(self, message: Message) -> None:
        self._incoming.put_nowait(message)

    def say(self, text: str) -> None:
        self.feed({"type": "websocket.receive", "text": text})

    def stop_reading(self) -> None:
        self._reads.clear()

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        async with self._arrived:
            self.sent.append(message)
            self._arrived.notify_all()

    async def until_sent(self, kind: str, count: int = 1) -> Message:
        """The `count`th message of that type."""

        def found() -> list[Message]:
            return [message for message in self.sent if message["type"] == kind]

        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    async def ended(self) -> None:
        await asyncio.wait([self.task], timeout=DEADLINE_S)
        assert self.task.done(), "the application does not end"
