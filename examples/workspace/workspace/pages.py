"""Pages about somebody's own things: no cache keeps them, no foreign script runs in them."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.http import require_http_methods

View = Callable[..., Awaitable[HttpResponse]]

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def private_page(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    response = render(request, template, context, status=status)
    response["Content-Security-Policy"] = POLICY
    response["Cache-Control"] = "no-store"
    return response


def takes_form_of(page: str, *names: str) -> Callable[[View], View]:
    """For a view that takes a form of another page, whose address has these arguments.

    Opened, it leads there: that is how a log-in on the way comes back.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                return await view(request, *args, **kwargs)
            return redirect(page, *(kwargs[name] for name in names))

        return require_http_methods(["GET", "HEAD", "POST"])(wrapped)

    return decorate


async def icon(request: HttpRequest) -> HttpResponse:
    """For what names none: browsers ask at this address when they show JSON."""
    return redirect(static("workspace/icon.svg"))
