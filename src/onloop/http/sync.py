"""The same clients for synchronous code, by plain calls: `sync.get(url).json()`.

In a bridge (synchronous views on the loop, middleware, signal receivers) a call waits on the
loop, and goes through the loop's own client. Anywhere else (synchronous views in threads,
commands, WSGI) it blocks its thread, and goes through a client on a loop in a thread of its
own, of which a process has one. An ordinary `httpx.Client` there would know no deadline, no
circuits and no judged addresses: it could only be another client with the same settings.
"""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

import httpx

from onloop import bridge, conf
from onloop.errors import BridgeRequired
from onloop.http import clients, extensions, urls
from onloop.loopthread import LoopOfProcess
from onloop.waiting import running_loop

__all__ = [
    "client",
    "close",
    "delete",
    "get",
    "head",
    "patch",
    "post",
    "public_client",
    "put",
    "request",
    "stream",
]

T = TypeVar("T")

NAME = "onloop-http"
# Seconds that a process waits at its end for connections to be closed.
CLOSE_S = 5.0

_of_process = LoopOfProcess(NAME)


class SyncClient(httpx.Client):
    """An `httpx.Client` whose requests have a deadline each, redirects included."""

    def build_request(self, method: str, url: httpx.URL | str, **kwargs: Any) -> httpx.Request:
        with urls.given(url):
            return super().build_request(method, url, **kwargs)

    def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        extensions.begin(request)
        with urls.redirected(request):
            return super().send(request, **kwargs)

    def close(self) -> None:
        """Do nothing: it is everybody's, and holds nothing."""

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __enter__(self) -> SyncClient:
        return self


class _LoopTransport(httpx.BaseTransport):
    """Sends requests by the transport of an asynchronous client."""

    def __init__(self, find: Callable[[], httpx.AsyncClient]) -> None:
        self._find = find

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = self._find()._transport_for_url(request.url)
            return await transport.handle_async_request(_for_loop(request))

        response = wait(send)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_SyncBody(response.stream),
            extensions=response.extensions,
        )


class _SyncBody(httpx.SyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner
        self._loop = running_loop()

    def __iter__(self) -> Iterator[bytes]:
        self._check()
        chunks = aiter(self._inner)

        async def following() -> bytes | None:
            return await anext(chunks, None)

        while (chunk := wait(following)) is not None:
            yield chunk

    def close(self) -> None:
        self._check()
        wait(self._inner.aclose)

    def _check(self) -> None:
        if running_loop() is not self._loop:
            raise RuntimeError(
                "A response that was begun in a bridge has to be read and closed in a bridge "
                "of that loop, one that was begun in a thread in a thread."
            )


class _AsyncBody(httpx.AsyncByteStream):
    """A body that synchronous code gives piece by piece, such as a file."""

    def __init__(self, inner: httpx.SyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        self._inner.close()


def _for_loop(request: httpx.Request) -> httpx.Request:
    if isinstance(request.stream, httpx.AsyncByteStream):
        return request
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=_AsyncBody(request.stream),
        extensions=request.extensions,
    )


def wait(step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Wait for `step()`: on the loop in a bridge, elsewhere by blocking the thread.

    Raises `BridgeRequired` on a loop's thread outside a bridge.
    """
    if bridge.active():
        return bridge.await_(step())
    if running_loop() is not None:
        raise BridgeRequired(
            "onloop.http.sync was called on the thread of a running event loop, outside a "
            "bridge. In `async def` code write `await onloop.http.client().get(...)`; to call "
            "synchronous code that waits, use `await onloop.bridge.run(function, ...)`."
        )
    try:
        return _of_process.get().run(step)
    except CancelledError:
        raise RuntimeError(
            "The request was cancelled: onloop.http.sync.close() was called, or the process "
            "ends."
        ) from None


def close() -> None:
    """Cancel what runs in threads, and close what it goes through; the next call opens it."""
    _of_process.end(timeout_s=CLOSE_S)


atexit.register(close)


def client() -> httpx.Client:
    """Return the shared client, an `httpx.Client` for any synchronous code."""
    return _client(conf.get().HTTP, clients.client)


def public_client() -> httpx.Client:
    """Return the shared client for addresses that come from users (docs/http.md)."""
    return _client(conf.get().HTTP, clients.public_client)


@lru_cache(maxsize=4)
def _client(settings: conf.HttpSettings, find: Callable[[], httpx.AsyncClient]) -> SyncClient:
    public = find is clients.public_client
    return SyncClient(
        transport=_LoopTransport(find),
        timeout=clients.timeouts(settings),
        cookies=clients.no_cookies(),
        headers={"Accept-Encoding": "identity"} if public else None,
        max_redirects=clients.PUBLIC_REDIRECTS if public else 20,
        trust_env=not public,
    )


def request(method: str, url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """Send a request by `client()`; the arguments are those of `httpx.Client.request`."""
    return client().request(method, url, **kwargs)


def stream(
    method: str, url: httpx.URL | str, **kwargs: Any
) -> AbstractContextManager[httpx.Response]:
    """As `httpx.Client.stream`: `with sync.stream("GET", url) as response: ...`."""
    return client().stream(method, url, **kwargs)


def get(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.get`, by `client()`."""
    return request("GET", url, **kwargs)


def head(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.head`, by `client()`."""
    return request("HEAD", url, **kwargs)


def post(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.post`, by `client()`."""
    return request("POST", url, **kwargs)


def put(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.put`, by `client()`."""
    return request("PUT", url, **kwargs)


def patch(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.patch`, by `client()`."""
    return request("PATCH", url, **kwargs)


def delete(url: httpx.URL | str, **kwargs: Any) -> httpx.Response:
    """As `httpx.Client.delete`, by `client()`."""
    return request("DELETE", url, **kwargs)
