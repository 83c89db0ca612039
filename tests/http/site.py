"""Views that ask other services, as a server serves them."""

from __future__ import annotations

from django.http import JsonResponse
from django.urls import path

import onloop
from onloop import http
from onloop.http import sync


async def asynchronous(request):
    response = await http.client().get(request.GET["url"])
    return JsonResponse({"text": response.text, "where": onloop.where()})


def plain(request):
    text = sync.get(request.GET["url"]).text
    return JsonResponse({"text": text, "where": onloop.where()})


async def panels(request):
    results = await http.fan_out(request.GET.getlist("url"), deadline=10)
    texts = [result.value.text if result.ok else None for result in results]
    return JsonResponse({"texts": texts})


@onloop.on_loop
def on_loop(request):
    return plain(request)


urlpatterns = [
    path("async/", asynchronous),
    path("plain/", on_loop),
    path("threaded/", plain),
    path("panels/", panels),
]
