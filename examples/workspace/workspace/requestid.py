"""Each request and each socket has an id, which stands in every line that is logged for it.

A proxy or a client may give one as ``X-Request-ID``, else one is made up; the answer has it
too. So what a user reports is found in the log, and one id leads through the logs of all parts.
"""

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADER = "X-Request-ID"
# What others send ends up in the log and in a header: only what cannot harm either.
GIVEN = re.compile(r"[A-Za-z0-9._:-]{8,64}", re.ASCII)

current: ContextVar[str] = ContextVar("request_id", default="")


def begin(given: str | None = None) -> str:
    """What this task or thread does from now on is for this id, or for a new one.

    It is not taken back: the server's line about an answer comes after the middleware. Each
    request sets its own.
    """
    fits = given is not None and GIVEN.fullmatch(given)
    name = given if fits and given is not None else uuid.uuid4().hex
    current.set(name)
    return name


@sync_and_async_middleware
def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The first of all, so that whatever is logged has the id."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            name = begin(request.headers.get(HEADER))
            response = await get_response(request)
            response[HEADER] = name
            return response

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        name = begin(request.headers.get(HEADER))
        response = get_response(request)
        response[HEADER] = name
        return response

    return answer


def for_sockets(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The same for sockets, around the ASGI application."""

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            begin(_given(scope.get("headers", ())))
        await application(scope, receive, send)

    return wrapped


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    found = [value for name, value in headers if name.lower() == HEADER.lower().encode()]
    return found[0].decode("latin-1") if len(found) == 1 else None


class AddsRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current.get()
        return True
