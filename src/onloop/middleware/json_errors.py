"""Errors as problem documents (RFC 9457) in place of HTML pages.

What is logged, which signals are sent and when stays Django's: only the answer is changed,
when it is there. A body that says something (JSON above all) must never be replaced, and a
response below 400 not even be looked at.
"""

from __future__ import annotations

import logging
import sys
import uuid
from typing import Any

from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from onloop.middleware.problem import (
    CONTENT_TYPE,
    HTML,
    Cause,
    cause_of,
    document,
    under_prefix,
    wants_problem,
)

# What told about the body that is replaced.
HEADERS_OF_A_BODY = (
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "ETag",
    "Last-Modified",
)

# Seconds that a client is told to wait for the database; the handler says the same.
RETRY_AFTER_S = 1


class JSONErrorMiddleware(MiddlewareMixin):
    """Turns the error pages of all that stands below it into `application/problem+json`."""

    get_response: Any  # of the side that is in use

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        # Both do nothing if they are there already.
        logging.getLogger("django.request").addFilter(add_error_id)
        got_request_exception.connect(remember)

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        response = self.get_response(request)
        return response if response.status_code < 400 else _answer(request, response)

    async def __acall__(self, request: HttpRequest) -> Any:
        response = await self.get_response(request)
        return response if response.status_code < 400 else _answer(request, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Remember what a view raised. Django goes on as it would."""
        _remember(request, exception)


def _answer(request: HttpRequest, response: Any) -> Any:
    """Change `response` in place: its cookies, its other headers and Django's marks stay."""
    if not _replaceable(response):
        return response
    if not under_prefix(request):
        patch_vary_headers(response, ["Accept"])
    if not wants_problem(request):
        return response
    detail = ""
    cause: Cause | None = getattr(request, "_onloop_cause", None)
    # Other middleware may have made something else of the exception.
    if cause is not None and response.status_code in (cause.djangos, cause.status):
        response.status_code, detail = cause.status, cause.detail
        if cause.status == 503:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    status = response.status_code
    error_id = _error_id(request) if status >= 500 else getattr(request, "_onloop_error_id", "")
    body = document(request, status, detail, error_id)
    for name in HEADERS_OF_A_BODY:
        response.headers.pop(name, None)
    response.content = body
    response.headers["Content-Type"] = CONTENT_TYPE
    response.headers["Content-Length"] = str(len(body))
    return response


def _replaceable(response: Any) -> bool:
    """Tell whether the body says nothing that a client of JSON would miss."""
    if getattr(response, "streaming", True) or hasattr(response, "accepted_renderer"):
        return False  # the latter: Django REST framework has asked the client what it wants
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in HTML:
        return True
    if kind == "text/plain":
        # A page of Django's (it has logged the error), or one that could hold a traceback.
        return response.status_code >= 500 or getattr(response, "_has_been_logged", False)
    return getattr(response, "is_rendered", True) and not response.content


def remember(*, request: Any = None, **kwargs: Any) -> None:
    """The receiver of `got_request_exception`: other middleware may have raised it."""
    if isinstance(request, HttpRequest):
        _remember(request, sys.exc_info()[1])


def _remember(request: Any, exc: BaseException | None) -> None:
    # Not the exception: its traceback refers to the request.
    request._onloop_cause = cause_of(exc)


def add_error_id(record: logging.LogRecord) -> bool:
    """A filter of `django.request`: an error that is answered in JSON has its id in the log."""
    request = getattr(record, "request", None)
    if (
        record.levelno >= logging.ERROR
        and isinstance(request, HttpRequest)
        and not hasattr(record, "error_id")
        and wants_problem(request)
    ):
        error_id = record.__dict__["error_id"] = _error_id(request)
        if isinstance(record.args, tuple) and record.args:
            record.msg = f"{record.msg} (error id %s)"
            record.args = (*record.args, error_id)
        else:
            record.msg = f"{record.getMessage()} (error id {error_id})"
            record.args = ()
    return True


def _error_id(request: Any) -> str:
    if not hasattr(request, "_onloop_error_id"):
        request._onloop_error_id = uuid.uuid4().hex
    return str(request._onloop_error_id)
