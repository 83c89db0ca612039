"""Pages about somebody's own things: no cache keeps them, no foreign script runs in them."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def private_page(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    response = render(request, template, context, status=status)
    response["Content-Security-Policy"] = POLICY
    response["Cache-Control"] = "no-store"
    return response


async def icon(request: HttpRequest) -> HttpResponse:
    """For what names none: browsers ask at this address when they show JSON."""
    return redirect(static("workspace/icon.svg"))
