"""Views that show how a request is served."""

import asyncio
import os
import threading

from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.gzip import gzip_page

from onloop import files
from tests.project.library.models import Author, Book


@csrf_exempt
async def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


async def numbers(request, count):
    async def items():
        for number in range(count):
            yield f"{number};"

    return StreamingHttpResponse(items())


def numbers_sync(request, count):
    return StreamingHttpResponse(f"{number};" for number in range(count))


async def until_you_leave(request):
    """A stream that says so, after a query, when it ends."""

    async def items():
        try:
            yield "open"
            await asyncio.Event().wait()
        finally:
            print(f"closed with {await Author.objects.acount()} authors", flush=True)

    return StreamingHttpResponse(items())


def _as_found(language):
    found = {
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "in a block": connection.in_atomic_block,
        "authors": Author.objects.count(),
    }
    translation.activate(language)
    timezone.activate("Asia/Tokyo")
    return JsonResponse(found)


async def as_found(request, language):
    """What a request finds that has asked for nothing; then it leaves a language behind."""
    return _as_found(language)


def as_found_sync(request, language):
    return _as_found(language)


async def sleeps_in_the_database(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60) AS until_the_client_leaves")
    return HttpResponse()


async def process(request):
    return JsonResponse({
        "pid": os.getpid(),
        "threads": [thread.name for thread in threading.enumerate()],
    })  # fmt: skip


@gzip_page
async def shelf(request):
    """A template that loops over a QuerySet, with a query for each row's relation."""
    return render(request, "desk/shelf.html", {"books": Book.objects.all()})


async def raises(request):
    raise ZeroDivisionError


async def source(request):
    """This file, also in ranges."""
    return files.FileResponse(open(__file__, "rb"), request=request)
