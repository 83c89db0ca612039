"""A client without manners: endless bodies that take no memory of its own."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Header = tuple[bytes, bytes]


class Attack:
    """One request whose body is made as it is taken.

    `body()` gives the pieces, and the client stays silent after the last of them if `stalls`;
    `length` is what it says of the body, None for one in chunks.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        body: Callable[[], Iterator[bytes]] = lambda: iter([b""]),
        *,
        length: int | str | None = None,
        headers: list[Header] | None = None,
        method: str = "POST",
        stalls: bool = False,
    ) -> None:
        self.taken = 0  # bytes of the body that the application had had when it answered
        self._sent = 0
        self.status: int | None = None
        self.text = ""
        self._application = application
        self._pieces = body()
        self._stalls = stalls
        self._answered = False
        self._complete = False
        self._gone = asyncio.Event()
        framing = (
            (b"transfer-encoding", b"chunked")
            if length is None
            else (b"content-length", str(length).encode())
        )
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testserver"), framing, *(headers or [])],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }

    async def run(self) -> Attack:
        await self._application(self.scope, self._receive, self._send)
        return self

    async def _receive(self) -> dict[str, Any]:
        if self._answered:
            return {"type": "http.disconnect"}
        piece = next(self._pieces, None)
        if piece is None and (self._stalls or self._complete):
            await self._gone.wait()  # never
        await asyncio.sleep(0)
        if piece is None:
            self._complete = True
            return {"type": "http.request", "body": b""}
        self._sent += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.taken = self._sent
        else:
            self.text += message.get("body", b"").decode()
            self._answered = not message.get("more_body", False)


def endless(piece: bytes, count: int) -> Callable[[], Iterator[bytes]]:
    """`count` times the same piece, each of them in memory by itself as a server's would be."""

    def pieces() -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(memoryview(piece))

    return pieces


def multipart(part: bytes, count: int, first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A form with the boundary "b": `first`, then `count` times `part`, each whole."""

    def pieces() -> Iterator[bytes]:
        yield first
        yield from endless(part, count)()

    return pieces


FORM = [(b"content-type", b"multipart/form-data; boundary=b")]


class Memory:
    """The most memory that was in use at once, in bytes above what was before."""

    most = 0


@contextmanager
def memory() -> Iterator[Memory]:
    seen = Memory()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield seen
        seen.most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
