"""Error pages: JSON for addresses of the API, a page for people everywhere else.

Views of the API answer their own errors; these are for what never reached a view.
"""

import re
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import resolve

from accounts.api import CHALLENGE, NOT_LOGGED_IN
from workspace.api import ApiError, api_view

API_PATHS = (
    r"^(?:people|accounts/me|panels/data|files/raw|catalogue/(?:products|orders|summary))"
    r"(?:/.*)?$"
)


def speaks_json(request: HttpRequest) -> bool:
    return re.match(API_PATHS, request.path_info.lstrip("/")) is not None


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if speaks_json(request):
        return ApiError(404, "There is no such address.").response()
    return render(request, "404.html", status=404)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if speaks_json(request):
        return ApiError(400, "The request cannot be understood.").response()
    return render(request, "400.html", status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    if speaks_json(request):
        return ApiError(500, "Something broke here. It has been logged.").response()
    return render(request, "500.html", status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if speaks_json(request):
        # Who is not logged in at all needs that more than a CSRF token.
        if not request.user.is_authenticated:
            return ApiError(401, NOT_LOGGED_IN, headers=CHALLENGE).response()
        return ApiError(403, "The CSRF token is missing or wrong.").response()
    return render(request, "403_csrf.html", status=403)


def with_slash(request: HttpRequest, last: Any) -> HttpResponse | None:
    """To the address with the slash that was left out, if it has a view other than ``last``."""
    if request.method not in ("GET", "HEAD") or request.path_info.endswith("/"):
        return None
    if resolve(f"{request.path_info}/").func is last:
        return None
    return HttpResponseRedirect(request.get_full_path(force_append_slash=True))


@api_view("GET", "POST", "PUT", "PATCH", "DELETE")
def unknown_address(request: HttpRequest, *args: Any) -> HttpResponse:
    """The last pattern under the API's paths: 404 as JSON also with DEBUG on.

    A slash left out is mended where nothing is sent along; Django's own way would answer a POST
    with a RuntimeError while DEBUG is on.
    """
    if (mended := with_slash(request, unknown_address)) is not None:
        return mended
    raise ApiError(404, "There is no such address. Each one ends in a slash.")
