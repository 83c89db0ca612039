"""The answers to requests that no token lets in, as RFC 6750 wants them.

They must say nothing about which token it was, nor why it is not valid.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from onloop import conf
from onloop.middleware.problem import CONTENT_TYPE, document, under_prefix, wants_problem


def missing(request: HttpRequest) -> HttpResponse:
    """401 without an error: nothing was tried."""
    return _refusal(request, 401, "A bearer token is needed.")


def malformed(request: HttpRequest) -> HttpResponse:
    return _refusal(
        request, 400, "The Authorization header must be: Bearer, a space, one token.",
        error="invalid_request",
    )  # fmt: skip


def not_valid(request: HttpRequest) -> HttpResponse:
    return _refusal(
        request, 401, "The token is unknown, has expired or was revoked.", error="invalid_token"
    )


def too_many(request: HttpRequest, wait_s: int) -> HttpResponse:
    response = _refusal(request, 429, "Too many tokens that are not valid.", challenge=False)
    response.headers["Retry-After"] = str(wait_s)
    return response


def _refusal(
    request: HttpRequest, status: int, detail: str, *, error: str = "", challenge: bool = True
) -> HttpResponse:
    if wants_problem(request):
        response = HttpResponse(
            document(request, status, detail, ""), status=status, content_type=CONTENT_TYPE
        )
    else:
        response = HttpResponse(
            f"{detail}\n", status=status, content_type="text/plain; charset=utf-8"
        )
    if not under_prefix(request):
        patch_vary_headers(response, ["Accept"])
    response.headers["Cache-Control"] = "no-store"
    if challenge:
        scheme = f'Bearer realm="{conf.get().BEARER_REALM}"'
        if error:
            scheme += f', error="{error}", error_description="{detail}"'
        response.headers["WWW-Authenticate"] = scheme
    return response
