"""An ASGI server's side of one request, played by hand.

`Exchange` is one request to an application in this process. The test decides when the body
arrives (`body` may be a list of pieces, or be fed later), when the client leaves, and how long
`send` takes. Nothing here knows Django or Onloop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from http.cookies import SimpleCookie
from typing import Any

Message = Mapping[str, Any]
Headers = Iterable[tuple[str, str]]

DEADLINE_S = 90


class Exchange:
    """One HTTP request and what comes back.

    `await exchange` waits for the application to end and returns the exchange; `start()` only
    begins it, in a task of its own as servers do.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        path: str = "/",
        *,
        method: str = "GET",
        query: str | bytes = b"",
        body: bytes | list[bytes] = b"",
        more_body: bool = False,
        headers: Headers = (),
        raw_headers: Iterable[tuple[bytes, bytes]] = (),
        cookies: Mapping[str, str] | None = None,
        **scope: Any,
    ) -> None:
        pieces = [body] if isinstance(body, bytes) else body
        fields = [("host", "testserver"), *headers]
        if cookies:
            fields.append(("cookie", "; ".join(f"{k}={v}" for k, v in cookies.items())))
        if any(pieces):
            fields.append(("content-length", str(sum(map(len, pieces)))))
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(errors="surrogateescape"),
            "query_string": query.encode() if isinstance(query, str) else query,
            "root_path": "",
            "headers": [
                *((name.encode(), value.encode()) for name, value in fields),
                *raw_headers,
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            **scope,
        }
        self.application = application
        self.messages: list[Message] = []
        self.task: asyncio.Task[None] | None = None
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        for number, piece in enumerate(pieces, 1):
            self.feed(piece, more_body=more_body or number < len(pieces))  # no piece: fed later
        self._arrived = asyncio.Condition()
        # How many messages the client will still take; None: all.
        self._appetite: asyncio.Semaphore | None = None
        # Raised by `send`, as servers do that follow ASGI 2.4 once the client is gone.
        self.send_error: OSError | None = None
        # Called before the last `send` returns, in the context of the application: there,
        # uvicorn starts the request that was pipelined behind this one.
        self.then: Callable[[], Any] | None = None
        # `Task.cancelling()` of the server's task when the application had returned.
        self.cancelling_afterwards: int | None = None

    # --- What the client does ---------------------------------------------------------------

    def start(self) -> Exchange:
        self.task = asyncio.create_task(self._serve(), name=f"server of {self}")
        return self

    async def _serve(self) -> None:
        await self.application(self.scope, self._receive, self._send)
        task = asyncio.current_task()
        assert task is not None
        self.cancelling_afterwards = task.cancelling()
        # A server goes on in this task: a cancellation that is still pending would hit it here.
        await asyncio.sleep(0)

    def feed(self, piece: bytes, *, more_body: bool) -> None:
        """A piece of the body arrives."""
        self.feed_message({"type": "http.request", "body": piece, "more_body": more_body})

    def feed_message(self, message: Message) -> None:
        self._incoming.put_nowait(message)

    def leave(self) -> None:
        """The client closes its connection."""
        self.feed_message({"type": "http.disconnect"})

    def stop_reading(self) -> None:
        """From now on `send` returns only after `read`."""
        self._appetite = asyncio.Semaphore(0)

    def read(self) -> None:
        """Let one `send` return."""
        assert self._appetite is not None
        self._appetite.release()

    def go_on_reading(self) -> None:
        self.read()
        self._appetite = None

    async def until(self, condition: Callable[[Exchange], bool]) -> None:
        """Wait until `condition` holds for what the application has sent."""
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: condition(self))

    async def until_parts(self, count: int) -> list[bytes]:
        """Wait for the first `count` pieces of the body."""
        await self.until(lambda exchange: len(exchange.parts) >= count)
        return self.parts

    async def end(self) -> Exchange:
        """Wait until the application has returned; raises what it raised."""
        if self.task is None:
            self.start()
        assert self.task is not None
        async with asyncio.timeout(DEADLINE_S):
            await self.task
        return self

    def __await__(self) -> Any:
        return self.end().__await__()

    # --- What the server does ---------------------------------------------------------------

    async def _receive(self) -> Message:
        return await self._incoming.get()

    async def _send(self, message: Message) -> None:
        if self.send_error is not None:
            raise self.send_error
        self.messages.append(message)
        async with self._arrived:
            self._arrived.notify_all()
        if self._appetite is not None:
            await self._appetite.acquire()
        if self.then is not None and self.complete:
            self.then()

    # --- What came back ---------------------------------------------------------------------

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def parts(self) -> list[bytes]:
        """The pieces of the body that were not empty."""
        bodies = [m for m in self.messages if m["type"] == "http.response.body"]
        return [m["body"] for m in bodies if m.get("body")]

    @property
    def complete(self) -> bool:
        """The application has said that there is no more."""
        last = self.messages[-1] if self.messages else {}
        return last.get("type") == "http.response.body" and not last.get("more_body", False)

    @property
    def content(self) -> bytes:
        return b"".join(self.parts)

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)

    def headers(self, name: str) -> list[str]:
        wanted = name.lower().encode()
        return [v.decode() for k, v in self.messages[0]["headers"] if k.lower() == wanted]

    @property
    def cookies(self) -> dict[str, str]:
        jar: SimpleCookie = SimpleCookie()
        for line in self.headers("set-cookie"):
            jar.load(line)
        return {name: morsel.value for name, morsel in jar.items()}

    def __str__(self) -> str:
        return f"{self.scope.get('method')} {self.scope.get('path')}"


async def all_of(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Start all exchanges, then wait for all."""
    started = [exchange.start() for exchange in exchanges]
    async with asyncio.timeout(DEADLINE_S * 2):
        await asyncio.gather(*(exchange.task for exchange in started if exchange.task))
    return started


async def pipelined(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Let each exchange begin in the context of the one before, as the last of it is sent."""
    first, *rest = exchanges
    before = first
    for exchange in rest:
        before.then = exchange.start
        before = exchange
    await first
    for exchange in rest:
        await exchange
    return [first, *rest]


class Lifespan:
    """The lifespan messages of a server: `startup()`, `shutdown()`, each returns the reply."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self.application = application
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def startup(self) -> Message:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        self.task = asyncio.create_task(
            self.application(scope, self._incoming.get, self._replies.put)
        )
        return await self._ask("lifespan.startup")

    async def shutdown(self) -> Message:
        reply = await self._ask("lifespan.shutdown")
        assert self.task is not None
        await self.task
        return reply

    async def _ask(self, kind: str) -> Message:
        self._incoming.put_nowait({"type": kind})
        async with asyncio.timeout(DEADLINE_S):
            return await self._replies.get()
