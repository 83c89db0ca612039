"""Sending a response, piece by piece, with the back-pressure of the server's `send`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from onloop.bridge import await_

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# Seconds that a stream which never waits may hold the loop. Servers whose client is gone drop
# what is sent without waiting; only the loop can tell the request of it.
TURN_S = 0.01


class ClientLeft(Exception):
    """The server says by an `OSError` that the client is gone (ASGI 2.4)."""


def send_response(response: Any, send: Send, chunk_size: int) -> None:
    """Send `response`, whole or streamed, in pieces of at most `chunk_size` bytes.

    A synchronous iterator is iterated here, in the bridge, one item at a time: what it waits
    for waits on the loop. Raises `ClientLeft`.
    """
    _send(send, {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": _headers(response),
    })  # fmt: skip
    if not response.streaming:
        _send_body(send, response.content, chunk_size)
    elif response.is_async:
        await_(_stream(response, send, chunk_size))
    else:
        pace = Pace()
        for part in response:
            _send_part(send, part, chunk_size)
            pace.step()
        _send(send, {"type": "http.response.body"})


class Pace:
    """Lets others on the loop have their turn in a stream that never waits."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._until = self._time() + TURN_S

    def step(self) -> None:
        if self._time() >= self._until:
            await_(asyncio.sleep(0))
            self._until = self._time() + TURN_S


def _headers(response: Any) -> list[tuple[bytes, bytes]]:
    headers = [
        (name.encode("ascii"), value.encode("latin1"))
        # Each as it was set; `items()` looks every name up again.
        for name, value in response.headers._store.values()
    ]
    headers.extend(
        (b"Set-Cookie", cookie.OutputString().encode("ascii"))
        for cookie in response.cookies.values()
    )
    return headers


def _send(send: Send, message: dict[str, Any]) -> None:
    try:
        await_(send(message))
    except OSError as exc:
        raise ClientLeft from exc


def _send_body(send: Send, content: bytes, chunk_size: int) -> None:
    size = len(content)
    if size <= chunk_size:
        _send(send, {"type": "http.response.body", "body": content})
        return
    for start in range(0, size, chunk_size):
        _send(send, {
            "type": "http.response.body",
            "body": content[start : start + chunk_size],
            "more_body": start + chunk_size < size,
        })  # fmt: skip


def _send_part(send: Send, part: bytes, chunk_size: int) -> None:
    for start in range(0, len(part), chunk_size):
        _send(send, {
            "type": "http.response.body",
            "body": part[start : start + chunk_size],
            "more_body": True,
        })  # fmt: skip


async def _stream(response: Any, send: Send, chunk_size: int) -> None:
    pace = Pace()
    try:
        async with aclosing(aiter(response)) as parts:
            async for part in parts:
                _send_part(send, part, chunk_size)
                pace.step()
    finally:
        # Django wraps the generator: closing the wrapper leaves it to the garbage collector.
        close = getattr(response._iterator, "aclose", None)
        if close is not None:
            await close()
    _send(send, {"type": "http.response.body"})
