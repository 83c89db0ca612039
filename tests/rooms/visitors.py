"""Clients of rooms, over Channels' communicator or a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import connect

from tests.channels.conftest import DEADLINE_S, Socket
from tests.servers import AsgiServer


def application() -> Any:
    from channels.routing import URLRouter

    from tests.project.sockets.routing import websocket_urlpatterns

    return URLRouter(websocket_urlpatterns)


class Visitor:
    """A client in a room, which keeps what it has been sent."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        frame = await self.socket.receive_json_from(timeout=DEADLINE_S)
        self.frames.append(frame)
        return frame

    async def next_of(self, *kinds: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] not in kinds:
            pass
        return frame

    async def say(self, **frame: Any) -> None:
        await self.socket.send_json_to(frame)

    async def post(self, body: Any) -> int:
        await self.say(type="post", body=body)
        return (await self.next_of("posted"))["number"]

    async def numbers(self, last: int) -> list[int]:
        """Read until the message `last` is there; return the numbers of all, as they came."""
        while last not in (seen := self.seen()):
            await self.next()
        return seen

    def seen(self) -> list[int]:
        found: list[int] = []
        for frame in self.frames:
            if frame["type"] == "message":
                found.append(frame["number"])
            elif frame["type"] == "history":
                found += [message["number"] for message in frame["messages"]]
        return found


class RemoteVisitor(Visitor):
    """The same over a real socket, as `async with RemoteVisitor(server, "lobby") as ada:`."""

    def __init__(self, server: AsgiServer, room: str, **query: Any) -> None:
        self.frames = []
        text = "&".join(f"{key}={value}" for key, value in query.items())
        self._connecting = connect(
            f"{server.url.replace('http', 'ws')}/rooms/{room}/?{text}",
            origin=server.url,
            open_timeout=DEADLINE_S,
            ping_interval=None,
            close_timeout=2,
        )

    async def __aenter__(self) -> RemoteVisitor:
        self.remote = await self._connecting.__aenter__()
        await self.next_of("history")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connecting.__aexit__(*exc)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            self.frames.append(json.loads(await self.remote.recv()))
        return self.frames[-1]

    async def say(self, **frame: Any) -> None:
        await self.remote.send(json.dumps(frame))
