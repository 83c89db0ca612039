"""How long a request took: a response header, and one log line.

It only looks on. It must never swallow or replace what comes from below it, an exception or a
cancellation, nor hold a streamed body back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.deprecation import MiddlewareMixin

HEADER = "X-Request-Duration"

logger = logging.getLogger("onloop.request")


class RequestTimingMiddleware(MiddlewareMixin):
    """Sets `X-Request-Duration` and writes one line a request to the logger `onloop.request`.

    Both are in seconds and begin where this middleware was called. The header ends where the
    response came back. The line ends there too, but for a streamed body where that has ended.
    """

    get_response: Any  # of the side that is in use

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        line = Line(request)
        try:
            response = self.get_response(request)
        except BaseException as exc:
            line.write(_outcome(exc))
            raise
        return line.finish(response)

    async def __acall__(self, request: HttpRequest) -> Any:
        line = Line(request)
        try:
            response = await self.get_response(request)
        except BaseException as exc:
            line.write(_outcome(exc))
            raise
        return line.finish(response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Remember what the view raised: it comes back as a response."""
        request.__dict__["_onloop_raised"] = _outcome(exception)


class Line:
    """The log line of one request, written once."""

    __slots__ = ("_request", "_start", "_status", "_written")

    def __init__(self, request: HttpRequest) -> None:
        self._start = time.perf_counter()
        self._request = request
        self._status: int | None = None
        self._written = False

    def finish(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response is there: set the header; write, now or at the end of its body."""
        response.headers[HEADER] = f"{time.perf_counter() - self._start:.4f}"
        self._status = response.status_code
        if isinstance(response, StreamingHttpResponse):
            if logger.isEnabledFor(logging.INFO):
                self._follow(response)
        else:
            raised = getattr(self._request, "_onloop_raised", "complete")
            self.write(raised if response.status_code >= 500 else "complete")
        return response

    def _follow(self, response: Any) -> None:
        # Below `streaming_content`, whose setter would take a file's own hand-over to the
        # server away, and whose getter hides the generator that has to be closed.
        parts = response._iterator
        response._iterator = (
            _async_parts(parts, self) if response.is_async else _parts(parts, self)
        )
        # A file that a WSGI server sends by itself never comes by here.
        by_server = (
            getattr(response, "file_to_stream", None) is not None
            and "wsgi.file_wrapper" in self._request.META
        )
        outcome = "complete" if by_server else "cancelled"
        # A body that nobody began is never entered, and one that is dropped may be finalised
        # at any time: the end of the response is the end of both.
        response._resource_closers.append(lambda: self.write(outcome))

    def write(self, outcome: str) -> None:
        """Write the line, unless it has been written."""
        if self._written:
            return
        self._written = True
        if not logger.isEnabledFor(logging.INFO):
            return
        duration = time.perf_counter() - self._start
        method, path = _one_line(self._request.method or ""), _one_line(self._request.path)
        logger.info(
            "%s %s %s in %.4f s%s",
            method,
            path,
            self._status or "-",
            duration,
            "" if outcome == "complete" else f": {outcome}",
            extra={
                "method": method,
                "path": path,
                "status": self._status,
                "duration": duration,
                "outcome": outcome,
            },
        )


def _parts(parts: Iterator[Any], line: Line) -> Iterator[Any]:
    try:
        yield from parts
    except BaseException as exc:
        line.write(_outcome(exc))
        raise
    line.write("complete")


async def _async_parts(parts: AsyncIterator[Any], line: Line) -> AsyncIterator[Any]:
    try:
        try:
            async for part in parts:
                yield part
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()
    except BaseException as exc:
        line.write(_outcome(exc))
        raise
    line.write("complete")


def _outcome(exc: BaseException) -> str:
    # `GeneratorExit`: the body was closed before its end.
    if isinstance(exc, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    return f"raised {type(exc).__name__}"


def _one_line(text: str) -> str:
    """Escape what could forge a second line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
