"""The transport that asks a host once: its circuit, a place, a deadline, and the body."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakSet

import httpx

from onloop import metrics
from onloop.conf import HttpSettings
from onloop.http import extensions
from onloop.http.calls import call, finish
from onloop.http.circuits import Attempt, Circuits
from onloop.http.errors import BodyTooLarge, DeadlineExceeded, TargetRefused
from onloop.http.gate import Gate

_END = object()

# Failures that say nothing about the host.
NOT_THE_HOSTS = (
    TargetRefused,
    BodyTooLarge,
    httpx.LocalProtocolError,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


_transports: WeakSet[HostTransport] = WeakSet()


class HostTransport(httpx.AsyncBaseTransport):
    """Asks `inner` for a response, within the limits of `gate` and `circuits`."""

    def __init__(self, inner: httpx.AsyncBaseTransport, gate: Gate, circuits: Circuits) -> None:
        self.inner = inner
        self._gate = gate
        self._circuits = circuits
        _transports.add(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = host_of(request.url)
        end = extensions.ends_at(request)
        late = extensions.late(request)
        self._circuits.check(host, time.monotonic())
        await self._enter(host, request, end, late)
        attempt: Attempt | None = None
        try:
            attempt = self._circuits.begin(host, time.monotonic())
            response = await call(
                lambda: self.inner.handle_async_request(request),
                ends_at=end,
                late=late,
                undo=lambda response: response.aclose(),
            )
        except BaseException as exc:
            self._over(host, attempt, exc)
            raise
        if response.status_code >= 500:
            self._circuits.failed(attempt, time.monotonic())
        else:
            self._circuits.answered(attempt)
        body = Body(response.stream, end, late, lambda error: self._over(host, attempt, error))
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )

    async def _enter(
        self, host: str, request: httpx.Request, end: float | None, late: str
    ) -> None:
        timeout_s: float | None = request.extensions.get("timeout", {}).get("pool")
        left = None if end is None else max(end - time.monotonic(), 0.0)
        if left is None or (timeout_s is not None and timeout_s <= left):
            await self._gate.enter(host, timeout_s)
            return
        try:
            await self._gate.enter(host, left)
        except httpx.PoolTimeout as exc:
            raise DeadlineExceeded(f"{late} {exc}") from None

    def _over(self, host: str, attempt: Attempt | None, error: BaseException | None) -> None:
        """Count how it went, and give the place back."""
        if attempt is not None:
            if error is None:
                self._circuits.succeeded(attempt)
            elif isinstance(error, httpx.TransportError) and not isinstance(
                error, NOT_THE_HOSTS
            ):
                self._circuits.failed(attempt, time.monotonic())
            else:
                self._circuits.abandoned(attempt)
        self._gate.leave(host)

    async def aclose(self) -> None:
        _transports.discard(self)
        await self.inner.aclose()


class Body(httpx.AsyncByteStream):
    """The body of a response, up to the request's deadline; `over` is called at its end."""

    def __init__(
        self,
        inner: Any,
        ends_at: float | None,
        late: str,
        over: Callable[[BaseException | None], None],
    ) -> None:
        self._inner = inner
        self._ends_at = ends_at
        self._late = late
        self._over = over
        self._chunks: AsyncIterator[bytes] | None = None
        self._error: BaseException | None = None
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._chunks = aiter(self._inner)
        while True:
            try:
                chunk: Any = await call(
                    lambda: anext(chunks, _END), ends_at=self._ends_at, late=self._late
                )
            except BaseException as exc:
                self._error = exc
                raise
            if chunk is _END:
                return
            yield chunk

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await finish(self._close)
        finally:
            self._over(self._error)

    async def _close(self) -> None:
        await self._inner.aclose()
        # A generator that is left to the garbage collector closes itself in a task that nobody
        # waits for.
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


def host_of(url: httpx.URL) -> str:
    """Return what places and circuits are counted by: "name:port"."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"[{url.host}]:{port}" if ":" in url.host else f"{url.host}:{port}"


def stats() -> dict[str, Any]:
    """Return what the clients of this process do, and which hosts fail.

    `under_way`: requests that are sent; `waiting`: those without a place; `failing`: hosts
    whose last answers were failures, each a dict of `host` ("name:port"), `failures` in a row,
    `open` (it is left alone) and `wait_s`, for how many seconds.
    """
    now = time.monotonic()
    transports = list(_transports)
    gates = {id(each._gate): each._gate for each in transports}.values()
    circuits = {id(each._circuits): each._circuits for each in transports}.values()
    return {
        "under_way": sum(gate.under_way for gate in gates),
        "waiting": sum(gate.waiting for gate in gates),
        "failing": [host for each in circuits for host in each.failing(now)],
    }


metrics.source("http", stats)


def gate_of(settings: HttpSettings) -> Gate:
    return Gate(settings.MAX_CONNECTIONS, settings.MAX_PER_HOST, settings.MAX_WAITING)


def circuits_of(settings: HttpSettings) -> Circuits:
    return Circuits(settings.CIRCUIT_FAILURES, settings.CIRCUIT_RESET)
