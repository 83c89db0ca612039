"""The page, and the same as JSON, with which its script refreshes it."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from panels import alerts, services
from workspace.api import api_view

HEADERS = {
    # What the services say may be anything: no script or style but this service's own files.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}


async def board() -> services.Board:
    found = await services.board()
    await alerts.tell_of_outages()
    return found


@require_safe
async def page(request: HttpRequest) -> HttpResponse:
    context = {"board": await board(), "deadline_s": settings.PANELS_DEADLINE_S}
    response = render(request, "panels/index.html", context)
    for name, value in HEADERS.items():
        response[name] = value
    return response


@api_view("GET")
async def data(request: HttpRequest) -> HttpResponse:
    return JsonResponse((await board()).as_json(), headers=HEADERS)
