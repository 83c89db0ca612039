"""What a request leaves behind is freed at once, not in bulk by the garbage collector.

Django's requests are in reference cycles of their own, by `request.user` and their messages.
What Onloop made for a request must not wait for the collector with them: it would free
thousands of tasks in one go, while nothing else runs.
"""

import asyncio
import gc
import weakref

import pytest
from django.http import HttpResponse
from django.urls import path

from onloop.asgi.client import WATCH_AFTER_S

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TURNS = 3
left: list[weakref.ref] = []


async def keeps(request):
    request.kept = request  # whatever Django's version, and whatever middleware does
    task = asyncio.current_task()
    left.append(weakref.ref(task))
    if request.GET:
        await asyncio.sleep(2 * WATCH_AFTER_S)
        left.append(weakref.ref(request._onloop_client._incoming))
        left.append(weakref.ref(request._onloop_client._incoming._task))
    return HttpResponse("kept")


urlpatterns = [path("keeps/", keeps)]


@pytest.mark.parametrize("query", ["", "waits=1"], ids=["at once", "watched"])
async def test_tasks_of_requests_do_not_wait_for_the_collector(project, query):
    project.configure(MIDDLEWARE=MIDDLEWARE)
    await project.get("/keeps/", query=query)  # the first one imports and catches
    left.clear()
    gc.collect()
    gc.disable()
    try:
        for _ in range(TURNS):
            exchange = await project.get("/keeps/", query=query)
            assert exchange.status == 200
        del exchange
        for _ in range(3):  # in which the watch ends
            await asyncio.sleep(0)
        assert [ref() for ref in left] == [None] * TURNS * (3 if query else 1)
    finally:
        gc.enable()
