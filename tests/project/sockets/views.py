"""Views that send to a room, `POST /sockets/<how>/<room>/?body=...`, each in its way."""

import asyncio
import threading

from channels.layers import get_channel_layer
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

import onloop
from onloop import rooms
from tests.project.library.models import Author

started = set()


def answer(message):
    return HttpResponse(str(message.number))


async def by_async_view(request, room):
    return answer(await rooms.asend(room, request.GET["body"]))


def by_sync_view(request, room):
    return answer(rooms.send(room, request.GET["body"]))


@onloop.on_loop
def by_sync_view_on_loop(request, room):
    return answer(rooms.send(room, request.GET["body"]))


async def by_task(request, room):
    """It may outlive the request."""
    task = asyncio.create_task(rooms.asend(room, request.GET["body"]))
    started.add(task)
    task.add_done_callback(started.discard)
    return HttpResponse("0")


def in_thread(room, body):
    try:
        with transaction.atomic():
            rooms.send(room, body)
    finally:
        connections.close_all()


def by_thread(request, room):
    threading.Thread(target=in_thread, args=(room, request.GET["body"])).start()
    return HttpResponse("0")


async def by_to_thread(request, room):
    await asyncio.to_thread(in_thread, room, request.GET["body"])
    return HttpResponse("0")


async def and_roll_back(request, room):
    async with transaction.atomic():
        await rooms.asend(room, request.GET["body"])
        transaction.set_rollback(True)
    return HttpResponse("0")


async def announce(request, room):
    await rooms.aannounce(room, "noise", what=request.GET["body"])
    return HttpResponse("0")


def announce_sync(request, room):
    rooms.announce(room, "noise", what=request.GET["body"])
    return HttpResponse("0")


async def news(request, room):
    """Write, and tell a group when it is committed."""
    layer = get_channel_layer()

    async def tell():
        await layer.group_send(room, {"type": "new.author"})

    async with transaction.atomic():
        await Author.objects.acreate(name=request.GET["body"])
        transaction.on_commit(tell)
    return HttpResponse("told")


VIEWS = [by_async_view, by_sync_view, by_sync_view_on_loop, by_task, by_thread, by_to_thread,
         and_roll_back, announce, announce_sync, news]  # fmt: skip
urlpatterns = [path(f"{view.__name__}/<str:room>/", csrf_exempt(view)) for view in VIEWS]
