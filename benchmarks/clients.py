"""Callers of an application in process: what a server does for a request, less the sockets."""

import asyncio
import io
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .endpoints import Endpoint

HEADERS = {
    "host": "localhost",
    "user-agent": "benchmarks",
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
}

# Requests are numbered through the life of a process, so that each one asks for other rows.
numbers = itertools.count()


class BadAnswerError(Exception):
    """A request inside a timed cell did not answer 200."""


class Exchange:
    """One request's `receive` and `send`. The client stays until the response is complete."""

    __slots__ = ("_body", "_gone", "_read", "status")

    def __init__(self) -> None:
        self.status = 0
        self._body: list[bytes] = []
        self._read = False
        self._gone: asyncio.Event | None = None

    async def receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._gone is None:
            self._gone = asyncio.Event()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._body.append(message.get("body", b""))

    def end(self) -> bytes:
        if self._gone is not None:
            self._gone.set()
        return b"".join(self._body)


class AsgiClient:
    """As a server does it: each request is a task of its own, with a fresh context."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]

    def _scope(self, endpoint: Endpoint, path: str) -> dict[str, Any]:
        headers = list(self._headers)
        if endpoint.cookie:
            headers.append((b"cookie", endpoint.cookie.encode()))
        if endpoint.method == "POST":
            headers.append((b"content-length", b"0"))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": endpoint.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "extensions": {},
            "state": {},
        }

    async def _call(self, scope: dict[str, Any], exchange: Exchange) -> None:
        await self._application(scope, exchange.receive, exchange.send)

    async def request(self, endpoint: Endpoint, path: str) -> tuple[int, bytes]:
        exchange = Exchange()
        await asyncio.create_task(self._call(self._scope(endpoint, path), exchange))
        return exchange.status, exchange.end()

    async def _repeat(self, endpoint: Endpoint, deadline: float) -> int:
        count = 0
        while time.perf_counter() < deadline:
            path = endpoint.path(next(numbers))
            status, _ = await self.request(endpoint, path)
            if status != 200:
                raise BadAnswerError(f"{endpoint.method} {path} answered {status}")
            count += 1
        return count

    async def verify(self, endpoint: Endpoint) -> int:
        number = next(numbers)
        status, body = await self.request(endpoint, endpoint.path(number))
        endpoint.verify(number, status, body)
        return 1

    async def run(self, endpoint: Endpoint, at_once: int, seconds: float) -> int:
        deadline = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._repeat(endpoint, deadline)) for _ in range(at_once)
            ]
        return sum(task.result() for task in tasks)


class WsgiClient:
    """Threads that call the application: as many as requests at once, kept through a cell."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def _environ(self, endpoint: Endpoint, path: str) -> dict[str, Any]:
        environ = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in HEADERS.items()}
        environ |= {
            "REQUEST_METHOD": endpoint.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if endpoint.cookie:
            environ["HTTP_COOKIE"] = endpoint.cookie
        if endpoint.method == "POST":
            environ["CONTENT_LENGTH"] = "0"
        return environ

    def request(self, endpoint: Endpoint, path: str) -> tuple[int, bytes]:
        status = 0

        def start_response(line: str, headers: Any, exc_info: Any = None) -> None:
            nonlocal status
            status = int(line[:3])

        response = self._application(self._environ(endpoint, path), start_response)
        try:
            body = b"".join(response)
        finally:
            response.close()
        return status, body

    def _repeat(self, endpoint: Endpoint, deadline: float) -> int:
        count = 0
        while time.perf_counter() < deadline:
            path = endpoint.path(next(numbers))
            status, _ = self.request(endpoint, path)
            if status != 200:
                raise BadAnswerError(f"{endpoint.method} {path} answered {status}")
            count += 1
        return count

    def _pool(self, size: int) -> ThreadPoolExecutor:
        for other in self._pools.keys() - {1, size}:
            self._pools.pop(other).shutdown()  # they would be counted
        if size not in self._pools:
            self._pools[size] = ThreadPoolExecutor(size)
        return self._pools[size]

    async def verify(self, endpoint: Endpoint) -> int:
        number = next(numbers)
        answer = self._pool(1).submit(self.request, endpoint, endpoint.path(number))
        endpoint.verify(number, *answer.result())
        return 1

    async def run(self, endpoint: Endpoint, at_once: int, seconds: float) -> int:
        # Blocks the loop on purpose: nothing else lives in this process.
        deadline = time.perf_counter() + seconds
        pool = self._pool(at_once)
        running = [pool.submit(self._repeat, endpoint, deadline) for _ in range(at_once)]
        return sum(future.result() for future in running)


class Lifespan:
    """The ASGI lifespan of an application, for those that have one."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        async def send(message: dict[str, Any]) -> None:
            self._answers.put_nowait(message["type"])

        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {},
        }
        try:
            await self._application(scope, self._messages.get, send)
        except Exception:  # noqa: BLE001 - whatever it is, it has no lifespan
            # "Unsupported", as a server takes it: stock Django raises for the unknown scope.
            self._answers.put_nowait("unsupported")
        else:
            self._answers.put_nowait("ended")

    async def _tell(self, what: str) -> None:
        self._messages.put_nowait({"type": f"lifespan.{what}"})
        answer = await self._answers.get()
        if answer == "lifespan.startup.failed":
            raise RuntimeError("the application's lifespan refused to start")

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())
        await self._tell("startup")

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        if not self._task.done():
            await self._tell("shutdown")
            await self._task
