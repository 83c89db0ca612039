"""A real HTTP server that misbehaves on demand, in a thread and on a loop of its own.

What it does is told by the path: `/ok`, `/hold` (until `release()`), `/hang`, `/drop`, `/cut`,
`/stuck` (in the middle of the body), `/trickle`, `/endless`, `/status/500`,
`/flaky/NAME/2/503?after=1` (two failures, then 200), `/flaky-cut/NAME` (503, cut off, then
200), `/redirect?to=...`, `/echo`, `/gzip`, `/charset/hex`, `/cookie`, `/large/1000`,
`/told/NAME`. It knows what it has seen: `requests`, `most_at_once`, `connections`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

# Only to start and to end.
DEADLINE_S = 90
FOREVER_S = 3600


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float = field(default_factory=time.monotonic)


class Upstream:
    """The server. `url` has no slash at its end."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.requests: list[Seen] = []
        self.connections = 0  # open now
        self.accepted = 0  # in all
        self.under_way = 0
        self.most_at_once = 0
        self._tls = tls
        self._failed: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def paths(self) -> list[str]:
        return [seen.path for seen in self.requests]

    def start(self) -> Upstream:
        """Begin to serve. Raises `OSError` if somebody else has the port."""
        self._socket = socket.create_server((self.host, self.port), backlog=200)
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def release(self) -> None:
        """Let all requests for `/hold` be answered, and those that come later too."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end, self._released = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(
            self._connected, sock=self._socket, ssl=self._tls, backlog=200
        )
        self._ready.set()
        await self._end.wait()
        server.close()
        for _ in range(3):  # who is just being accepted
            await asyncio.sleep(0)
        for writer in self._writers:
            writer.transport.abort()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that is cancelled before it begins would leave its connection open.
        self._writers.add(writer)
        task = self._loop.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        self.connections += 1
        number = self.accepted
        try:
            while await self._request(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.connections -= 1
            self._writers.discard(writer)
            writer.transport.abort()

    async def _request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        line = await reader.readline()
        if not line:
            return False
        method, target, _ = line.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = await self._body(reader, headers)
        self.requests.append(Seen(method, target, headers, body, number))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        answer = asyncio.ensure_future(self._answer(self.requests[-1], writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answer.done() and answer.result() and not gone.done()
        finally:
            self.under_way -= 1
            answer.cancel()
            gone.cancel()
            # The next line can be read only when this byte is not waited for any more.
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
            return body
        return await reader.readexactly(int(headers.get("content-length", 0)))

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection can be used again."""
        parts = urlsplit(seen.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        steps = parts.path.strip("/").split("/")
        status = 200
        if steps[0].startswith("flaky-"):  # 503 once, with a body that misbehaves
            self._failed[steps[1]] += 1
            first = self._failed[steps[1]] == 1
            steps, status = ([steps[0][6:]], 503) if first else (["ok"], 200)
        match steps:
            case ["hang"]:
                await asyncio.sleep(FOREVER_S)
            case ["hold"]:
                await self._released.wait()
                await _send(writer, 200, b"held")
            case ["drop"]:
                return False
            case ["cut"]:
                await _send(writer, status, b"half", length=100)
                return False
            case ["stuck"]:
                await _send(writer, status, b"half", length=100)
                await asyncio.sleep(FOREVER_S)
            case ["trickle"]:
                await _send(writer, 200, b"", length=100_000)
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            case ["endless"]:
                await _send(writer, status, b"", chunked=True)
                while True:
                    writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    await writer.drain()
            case ["status", wanted]:
                await _send(writer, int(wanted), b"as asked")
            case ["flaky", name, times, wanted]:
                self._failed[name] += 1
                if self._failed[name] > int(times):
                    await _send(writer, 200, b"at last")
                else:
                    extra = {"Retry-After": query["after"]} if "after" in query else {}
                    await _send(writer, int(wanted), b"not yet", extra)
            case ["redirect"]:
                await _send(writer, 302, b"", {"Location": query["to"]})
            case ["echo"]:
                told = {"method": seen.method, "headers": seen.headers}
                told["body"] = seen.body.decode("latin-1")
                await _send(writer, 200, json.dumps(told).encode())
            case ["gzip"]:
                packed = gzip.compress(b"x" * 1000)
                await _send(writer, 200, packed, {"Content-Encoding": "gzip"})
            case ["charset", name]:
                kind = {"Content-Type": f"text/plain; charset={name}"}
                await _send(writer, 200, b"odd", kind)
            case ["cookie"]:
                await _send(writer, 200, b"", {"Set-Cookie": "session=of-one; Path=/"})
            case ["told", what]:
                await _send(writer, 200, json.dumps({what: 1.5}).encode())
            case ["large", size]:
                await _send(writer, 200, b"x" * int(size))
            case _:
                await _send(writer, 200, b"ok")
        return True


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    length: int | None = None,
    chunked: bool = False,
) -> None:
    size = len(body) if length is None else length
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    lines = [f"HTTP/1.1 {status} Told", framing]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
