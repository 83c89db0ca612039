"""Another attempt after one that failed, where that can do no harm."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from onloop.conf import HttpSettings
from onloop.http import extensions

# Asking twice is asking once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
STATUSES = frozenset({429, 502, 503, 504})

# So many bytes, in so many seconds, of an answer that is thrown away.
READ_ON = 65_536
READ_ON_S = 0.5

# The request was never sent, whatever its method.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
MAYBE_SENT = (
    *NOT_SENT,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
)


class RetryTransport(httpx.AsyncBaseTransport):
    """Asks `inner` again after a failure: with full jitter, or when the server says so.

    An attempt for which there is no time left is not waited for.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, settings: HttpSettings) -> None:
        self.inner = inner
        self._settings = settings

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        end = extensions.ends_at(request)
        wanted: bool = request.extensions.get(extensions.RETRY, request.method in IDEMPOTENT)
        refused = request.extensions.get(extensions.RETRY) is False
        body = None if isinstance(request.stream, httpx.ByteStream) else _OnceOnly(request)
        for number in range(self._settings.RETRIES + 1):
            last = number == self._settings.RETRIES or refused
            try:
                response = await self.inner.handle_async_request(
                    request if body is None else body.request
                )
            except MAYBE_SENT as exc:
                if last or not (wanted or isinstance(exc, NOT_SENT)) or _is_used(body):
                    raise
                delay_s = self._jitter_s(number)
                if not _has_time(end, delay_s):
                    raise
            else:
                asked_s = self._asked_s(response, number)
                if last or not wanted or _is_used(body) or asked_s is None:
                    return response
                delay_s = asked_s
                if not _has_time(end, delay_s):
                    return response
                await _let_go(response)
            await asyncio.sleep(delay_s)
        raise AssertionError("the last attempt returns or raises")

    def _asked_s(self, response: httpx.Response, number: int) -> float | None:
        """Return how long to wait before the next attempt; None: there shall be none."""
        if response.status_code not in STATUSES:
            return None
        jitter_s = self._jitter_s(number)
        after_s = retry_after_s(response.headers.get("retry-after", ""))
        if after_s is None:
            return jitter_s
        if after_s > self._settings.RETRY_AFTER_MAX:
            return None  # to come earlier would be of no use
        return after_s + jitter_s  # not all of those who were told so at the same moment

    def _jitter_s(self, number: int) -> float:
        longest_s = min(self._settings.BACKOFF * 2**number, self._settings.BACKOFF_MAX)
        return random.uniform(0, longest_s)  # noqa: S311 - spreads load

    async def aclose(self) -> None:
        await self.inner.aclose()


async def _let_go(response: httpx.Response) -> None:
    """Close a response that nobody wants; read it, if it is short, to keep its connection."""
    size = 0
    try:
        async with asyncio.timeout(READ_ON_S):
            async for chunk in response.stream:  # type: ignore[union-attr]
                size += len(chunk)
                if size > READ_ON:
                    break
    except (TimeoutError, httpx.TransportError):
        pass  # then the connection is closed as well
    finally:
        await response.aclose()


def retry_after_s(value: str) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, be it seconds or a date."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        # More digits than any wait has; `int` refuses thousands of them.
        return float(value[:20])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the second for a zone beyond all bounds
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


class _OnceOnly(httpx.AsyncByteStream):
    """A body that can be read once only, and whether that has begun."""

    def __init__(self, request: httpx.Request) -> None:
        self._stream = request.stream
        self.used = False
        self.request = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=self,
            extensions=request.extensions,
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.used = True
        assert isinstance(self._stream, httpx.AsyncByteStream)
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        assert isinstance(self._stream, httpx.AsyncByteStream)
        await self._stream.aclose()


def _is_used(body: _OnceOnly | None) -> bool:
    return body is not None and body.used


def _has_time(ends_at: float | None, delay_s: float) -> bool:
    return ends_at is None or time.monotonic() + delay_s < ends_at
