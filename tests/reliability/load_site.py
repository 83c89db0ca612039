"""The application of R8, R11 and R13 in a server: views, and what it knows of itself.

`/stats/` is answered whatever the load: queues and pools as they are, the most that was seen,
how late the loop was, and what was called on it that may block.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import os
import threading
import time
import weakref
from contextlib import asynccontextmanager

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
settings.ROOT_URLCONF = __name__
settings.ONLOOP = {**settings.ONLOOP, "LIFESPAN": [f"{__name__}.watched"]}

from onloop import policy, watchdog  # noqa: E402 - with these settings
from onloop.asgi import get_asgi_application  # noqa: E402

application = get_asgi_application()

from onloop.asgi.admission import admission_of  # noqa: E402
from onloop.channels.counts import socket_stats  # noqa: E402
from onloop.db import pools  # noqa: E402
from tests.project.library.models import Author, Book  # noqa: E402
from tests.reliability.blocking import BlockingCalls  # noqa: E402
from tests.reliability.lateness import Lateness  # noqa: E402

blocking = BlockingCalls()
lateness = Lateness()


@asynccontextmanager
async def watched():
    """Measure how late the loop is while the server runs, and see what blocks it."""
    lateness.watch()
    blocking.watch()
    try:
        yield
    finally:
        lateness.stop()


# --- what it knows of itself ------------------------------------------------------------------


@policy.always
async def stats(request):
    loop = asyncio.get_running_loop()
    admission = admission_of(loop)
    pool = next((p for p in pools.pools_of(loop) if p.name == "default"), None)
    return JsonResponse({
        "served": admission._served,
        "queued": len(admission._waiting),
        "sockets": socket_stats()["open"],
        "pool": pool.stats() if pool else {},
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "stalls": watchdog.stalls().count,
        "blocking": blocking.seen,
    })  # fmt: skip


@policy.always
async def objects(request):
    """How many objects there are that the garbage collector knows, after a collection."""
    _forget_cancelled_timers(asyncio.get_running_loop())
    gc.collect()
    gc.collect()  # what the first has freed may have held others
    # A connection of sqlite3 forgets dead references to cursors once they are two hundred.
    counted = [thing for thing in gc.get_objects() if type(thing) is not weakref.ref]
    return JsonResponse({"objects": len(counted)})


def _forget_cancelled_timers(loop):
    """What asyncio's loop does itself when they are a hundred and more than half of all.

    Each keeps its context until then, so up to a thousand objects come and go with them.
    """
    scheduled = getattr(loop, "_scheduled", None)
    if scheduled:
        for handle in scheduled:
            handle._scheduled = not handle.cancelled()
        loop._scheduled = [handle for handle in scheduled if not handle.cancelled()]
        heapq.heapify(loop._scheduled)
        loop._timer_cancelled_count = 0


@policy.always
async def lags(request):
    """How late the loop was; counted anew from now on, and so is what blocks."""
    blocking.seen.clear()
    return JsonResponse(lateness.take())


# --- what is asked for ------------------------------------------------------------------------


async def plain(request):
    return HttpResponse("plain")


async def held(request, pk):
    """Wait for a row that somebody else has locked, on a connection of the pool."""
    async with transaction.atomic():
        author = await Author.objects.select_for_update().aget(pk=pk)
    return HttpResponse(author.name)


async def rows(request):
    """A lazy relation for each of some rows."""
    books = Book.objects.order_by("pk")[:5]
    return JsonResponse({"authors": [book.author.name for book in books]})


async def write(request, number):
    async with transaction.atomic():
        author = await Author.objects.acreate(name=f"{number}:a")
        await Author.objects.filter(pk=author.pk).adelete()
    return HttpResponse("written")


def in_thread(request):
    return HttpResponse(str(Author.objects.count()))


# --- broken on purpose ------------------------------------------------------------------------

_kept: list[object] = []


async def sleeps(request):
    time.sleep(0.001)
    return HttpResponse("slept")


async def opens(request):
    with open(__file__, "rb") as file:
        return HttpResponse(file.read(10))


async def keeps(request):
    _kept.append(request)
    return HttpResponse("kept")


urlpatterns = [
    path("stats/", stats),
    path("objects/", objects),
    path("lags/", lags),
    path("plain/", plain),
    path("held/<int:pk>/", held),
    path("rows/", rows),
    path("write/<int:number>/", write),
    path("thread/", in_thread),
    path("sleeps/", sleeps),
    path("opens/", opens),
    path("keeps/", keeps),
]
