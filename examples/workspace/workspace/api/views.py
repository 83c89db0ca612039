"""Views that speak JSON: a decorator for functions, a base for classes, a reader for bodies."""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from workspace.api.errors import ApiError

MAX_BODY_BYTES = 64 * 1024

logger = logging.getLogger(__name__)

AnyView = Callable[..., Any]


def api_view(*methods: str, uses_session: bool = False) -> Callable[[AnyView], AnyView]:
    """Make a function, sync or async, a JSON view for these methods.

    Without ``uses_session`` the view is exempt from Django's CSRF check. That is safe only
    because such a view never asks who its visitor is: there is no authority that a foreign page
    could borrow. And since bodies must be declared as JSON, a foreign page cannot even send
    one without the browser's asking first.
    """
    allowed = [*methods, "HEAD", "OPTIONS"] if "GET" in methods else [*methods, "OPTIONS"]

    def decorate(view: AnyView) -> AnyView:
        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def wrapper(
                request: HttpRequest, *args: Any, **kwargs: Any
            ) -> HttpResponseBase:
                try:
                    return _unless_allowed(request, allowed) or await view(
                        request, *args, **kwargs
                    )
                except (ApiError, OperationalError, ExceptionGroup) as error:
                    return _answer(request, error)
        else:

            @functools.wraps(view)
            def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                try:
                    return _unless_allowed(request, allowed) or view(request, *args, **kwargs)
                except (ApiError, OperationalError, ExceptionGroup) as error:
                    return _answer(request, error)

        return wrapper if uses_session else csrf_exempt(wrapper)

    return decorate


class ApiView(View):
    """A class-based view under the rules of ``api_view``: one method for each HTTP method."""

    uses_session = False

    @classmethod
    def as_view(cls, **initkwargs: Any) -> AnyView:
        methods = [name.upper() for name in cls.http_method_names if hasattr(cls, name)]
        methods = [name for name in methods if name not in ("HEAD", "OPTIONS")]
        return api_view(*methods, uses_session=cls.uses_session)(super().as_view(**initkwargs))


def read_json(request: HttpRequest) -> Any:
    """The body as JSON. Raises ``ApiError`` 415, 413 or 400."""
    if request.content_type != "application/json":
        raise ApiError(415, "Send JSON, with Content-Type: application/json.")
    try:
        body = request.body
    except RequestDataTooBig:
        body = None
    if body is None or len(body) > MAX_BODY_BYTES:
        raise ApiError(413, f"The body must not be longer than {MAX_BODY_BYTES} bytes.")
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        # Bad syntax, bad UTF-8, NaN, a repeated name, a number of many thousand digits, or
        # brackets nested deeper than any request of ours.
        raise ApiError(400, "The body is not valid JSON.") from None


def _unless_allowed(request: HttpRequest, allowed: list[str]) -> HttpResponse | None:
    if request.method == "OPTIONS":
        return HttpResponse(headers={"Allow": ", ".join(allowed)})
    if request.method not in allowed:
        raise ApiError(
            405,
            "This address does not take that method.",
            headers={"Allow": ", ".join(allowed)},
        )
    return None


def _answer(request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, ApiError):
        return error.response()
    if _is_operational(error):
        # A lock or a pooled connection that did not come in time, a server that restarts: worth
        # another try, and nothing has been written.
        logger.warning("%s %s: the database is busy: %s", request.method, request.path, error)
        return ApiError(
            503, "The database is busy. Try again.", headers={"Retry-After": "1"}
        ).response()
    raise error


def _is_operational(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # from a TaskGroup of queries
        return all(_is_operational(part) for part in error.exceptions)
    return isinstance(error, OperationalError)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a name occurs twice")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
