"""The application of R12, in a server's process: it notes what it received and what it did.

`application` serves views that write two rows in a transaction. The journal, a file whose name
stands in `ONLOOP_TEST_JOURNAL`, has a line for each event, written at once: a process that is
killed has noted all that it did.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
settings.ROOT_URLCONF = __name__
settings.ONLOOP = {"LIFESPAN": [f"{__name__}.hook"], "STALL_MS": 0}

from onloop.asgi import get_asgi_application  # noqa: E402 - with these settings

django_application = get_asgi_application()

from onloop.db import pools  # noqa: E402
from tests.project.library.models import Author  # noqa: E402

_journal = os.open(os.environ["ONLOOP_TEST_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
requests = 0


def note(*words):
    os.write(_journal, (" ".join(map(str, words)) + "\n").encode())


async def application(scope, receive, send):
    """Django's, with notes of what comes in and goes out of it."""
    global requests  # noqa: PLW0603 - there is one loop
    if scope["type"] == "lifespan":
        try:
            return await django_application(scope, receive, send)
        finally:
            note("lifespan", len(pools.pools_of(asyncio.get_running_loop())), requests)
    number = scope["path"].strip("/").split("/")[-1]
    note("received", number)
    requests += 1

    async def noting():
        message = await receive()
        if message["type"] == "http.disconnect":
            note("disconnected", number)
        return message

    try:
        return await django_application(scope, noting, send)
    except asyncio.CancelledError:
        note("cancelled", number, time.monotonic())
        raise
    finally:
        requests -= 1
        note("ended", number)


@asynccontextmanager
async def hook():
    note("entered")
    yield
    note("left", requests)


@csrf_exempt
async def write(request, wait_ms, number):
    async with transaction.atomic():
        await Author.objects.acreate(name=f"{number}:a")
        await asyncio.sleep(wait_ms / 1000)
        await Author.objects.acreate(name=f"{number}:b")
        note("commits", number)
    return HttpResponse(f"written {number}")


@csrf_exempt
async def asleep(request, wait_ms, number):
    """It waits in the database, not on the loop."""
    async with transaction.atomic():
        await Author.objects.acreate(name=f"{number}:a")
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(%s)", [wait_ms / 1000])
        await Author.objects.acreate(name=f"{number}:b")
        note("commits", number)
    return HttpResponse(f"written {number}")


@csrf_exempt
@transaction.atomic
def write_in_thread(request, wait_ms, number):
    Author.objects.create(name=f"{number}:a")
    time.sleep(wait_ms / 1000)
    Author.objects.create(name=f"{number}:b")
    note("commits", number)
    return HttpResponse(f"written {number}")


@csrf_exempt
async def stream(request, wait_ms, number):
    """The rows are committed before the first part is sent; the rest takes a while."""
    async with transaction.atomic():
        for part in "ab":
            await Author.objects.acreate(name=f"{number}:{part}")
        note("commits", number)

    async def parts():
        yield "written "
        await asyncio.sleep(wait_ms / 1000)
        yield str(number)

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("write/<int:wait_ms>/<int:number>/", write),
    path("asleep/<int:wait_ms>/<int:number>/", asleep),
    path("thread/<int:wait_ms>/<int:number>/", write_in_thread),
    path("stream/<int:wait_ms>/<int:number>/", stream),
]
