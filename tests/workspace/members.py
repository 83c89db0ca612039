"""Members of the example's rooms, over real sockets and by HTTP."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, PASSWORD

DEADLINE_S = 90


async def log_in(client: httpx.AsyncClient, username: str = "demo") -> None:
    """Log the client in as one of the demo's accounts."""
    await client.get("/accounts/login/")
    form = {
        "username": username,
        "password": PASSWORD,
        "csrfmiddlewaretoken": client.cookies["csrftoken"],
    }
    answer = await client.post("/accounts/login/", data=form)
    assert answer.status_code == 302, answer.text


class Socket:
    """A socket that keeps nothing: frames are read in their order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def next_of(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while (frame := json.loads(await self.connection.recv()))["type"] != kind:
                pass
        return frame

    async def say(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def post(self, text: str, key: str | None = None) -> int:
        await self.say(type="post", body=text, key=key or str(uuid.uuid4()))
        return int((await self.next_of("posted"))["number"])


class Member:
    """Somebody who is logged in: `client` for pages, `socket(path)` for sockets."""

    def __init__(self, server: AsgiServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    @property
    def token(self) -> str:
        return self.client.cookies["csrftoken"]

    def connect(self, path: str, *, origin: str | None = None) -> connect:
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        return connect(
            self.server.url.replace("http", "ws") + path,
            origin=origin or self.server.url,
            additional_headers={"Cookie": cookies},
            open_timeout=DEADLINE_S,
            close_timeout=2,
        )

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[Socket]:
        async with self.connect(path) as connection:
            socket = Socket(connection)
            await socket.next_of("joined")
            yield socket


@asynccontextmanager
async def member(server: AsgiServer, username: str) -> AsyncIterator[Member]:
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
        await log_in(client, username)
        yield Member(server, client)
