from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from workspace.urls import handler400, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]


async def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("this view has a fault")


urlpatterns.insert(0, path("fail/", fail))
