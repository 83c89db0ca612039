"""A caller over sockets: as little as an HTTP client can be, since it takes from the server."""

import asyncio
import time

from .clients import HEADERS, BadAnswerError, numbers
from .endpoints import Endpoint


class Connection(asyncio.Protocol):
    """One connection that is kept alive, and one request on it at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        _, found, rest = head.lower().partition(b"\r\ncontent-length:")
        if not found:
            self._fail(BadAnswerError(f"an answer without a length: {head[:200]!r}"))
        elif len(body) >= int(rest.split(b"\r\n", 1)[0]):
            self._received = b""
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(BadAnswerError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def request(self, endpoint: Endpoint, path: str) -> tuple[int, bytes]:
        assert self._transport is not None
        headers = dict(HEADERS)
        if endpoint.cookie:
            headers["cookie"] = endpoint.cookie
        if endpoint.method == "POST":
            headers["content-length"] = "0"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"{endpoint.method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return await self._answer

    def close(self) -> None:
        self._answer = None
        if self._transport is not None:
            self._transport.close()


class HttpClient:
    """As many connections as requests at once, new ones for each cell."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection

    async def _repeat(self, endpoint: Endpoint, deadline: float) -> int:
        connection = await self._connect()
        count = 0
        try:
            while time.perf_counter() < deadline:
                path = endpoint.path(next(numbers))
                status, _ = await connection.request(endpoint, path)
                if status != 200:
                    raise BadAnswerError(f"{endpoint.method} {path} answered {status}")
                count += 1
        finally:
            connection.close()
        return count

    async def verify(self, endpoint: Endpoint) -> int:
        number = next(numbers)
        connection = await self._connect()
        try:
            answer = await connection.request(endpoint, endpoint.path(number))
        finally:
            connection.close()
        endpoint.verify(number, *answer)
        return 1

    async def run(self, endpoint: Endpoint, at_once: int, seconds: float) -> int:
        deadline = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._repeat(endpoint, deadline)) for _ in range(at_once)
            ]
        return sum(task.result() for task in tasks)
