from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse
from django.urls import path

from workspace.urls import handler400, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]

HOLDS_S = 0.6


async def hold_the_loop(request: HttpRequest) -> HttpResponse:
    time.sleep(HOLDS_S)
    return HttpResponse("held")


urlpatterns.insert(0, path("hold-the-loop/", hold_the_loop))
