"""Views that tell whose request they were called with, in every place where views run."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.test.utils import CaptureQueriesContext
from django.urls import path

import onloop


def told(request, user, auser):
    token = getattr(request, "token", None)
    return JsonResponse(
        {
            "user": user.get_username() if user is not None else None,
            "auser": auser.get_username(),
            "token": token and token.name,
            "where": onloop.where(),
        }
    )


async def in_async(request):
    return told(request, request.user, await request.auser())


def in_thread(request):
    return told(request, request.user, async_to_sync(request.auser)())


@onloop.on_loop
def on_loop(request):
    return told(request, request.user, async_to_sync(request.auser)())


async def queries(request):
    """How many queries it takes to know the user."""
    with CaptureQueriesContext(connection) as captured:
        asked = [request.user.is_authenticated, (await request.auser()).is_authenticated]
    return JsonResponse({"asked": asked, "queries": len(captured)})


def nothing(request):
    return HttpResponse("nothing")


VIEWS = {"async": in_async, "thread": in_thread, "loop": on_loop}

urlpatterns = [
    *(
        path(f"{prefix}{name}/", view)
        for name, view in VIEWS.items()
        for prefix in ("", "open/")
    ),
    path("openly/", nothing),
    path("queries/", queries),
    path("raises/", lambda request: 1 / 0),
]
