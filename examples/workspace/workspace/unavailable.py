"""People are shown a page where the answer would be bare words, or nothing: while the database
is away, when they send too much, or open what only takes forms. Programs at the older JSON
addresses get an error of the shape that all have there."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware

from workspace.api import ApiError
from workspace.errors import speaks_json

PAGES = {405: "405.html", 413: "413.html", 503: "503.html"}
AWAY = "The service is busy, or its database is away. Try again in a moment."


@sync_and_async_middleware
def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Below what makes JSON of errors, and above all that asks the database."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            return _shown(request, await get_response(request))

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        return _shown(request, get_response(request))

    return answer


def _shown(request: HttpRequest, response: Any) -> HttpResponseBase:
    if response.status_code in PAGES and _is_bare(response):
        if speaks_json(request):
            if response.status_code == 503:
                _replace(response, ApiError(503, AWAY).response().content, "application/json")
            return response  # type: ignore[no-any-return]
        patch_vary_headers(response, ["Accept"])
        # As a browser asks; a program that takes anything is not served a page.
        if "text/html" in request.headers.get("Accept", ""):
            # Without the request: what else a template is told might ask the database.
            template = PAGES[response.status_code]
            page = render_to_string(template, {"address": request.get_full_path()})
            _replace(response, page.encode(), "text/html; charset=utf-8")
    return response


def _is_bare(response: Any) -> bool:
    if response.streaming:
        return False
    return not response.content or response.get("Content-Type", "").startswith("text/plain")


def _replace(response: Any, content: bytes, media_type: str) -> None:
    response.content = content
    response["Content-Length"] = str(len(content))
    response["Content-Type"] = media_type
