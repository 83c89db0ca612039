"""What a socket keeps on which nothing happens. Bytes are measured by `benchmarks.live`."""

from __future__ import annotations

import gc
import types
from collections import Counter
from pathlib import Path

import pytest
from asgiref.sync import iscoroutinefunction
from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path

import onloop
from onloop.channels import (
    SocketLimitsMiddleware,
    StrictOriginMiddleware,
    TokenAuthMiddleware,
    get_asgi_application,
)
from tests.db.eventually import eventually
from tests.rooms.conftest import IN_MEMORY, set_up  # noqa: F401 - a fixture
from tests.rooms.visitors import application as with_rooms

OURS = str(Path(onloop.__file__).parent)
OF_ITS_OWN = (b"origin", b"http://testserver"), (b"host", b"testserver")


class Quiet(AsyncWebsocketConsumer):
    pass


def waiting():
    """Our coroutines that wait; another loop of this process may have left some."""
    gc.collect()
    found = (thing for thing in gc.get_objects() if type(thing) is types.CoroutineType)
    ours = (each for each in found if each.cr_code.co_filename.startswith(OURS))
    return [each for each in ours if each.cr_suspended]


def names_of_new(before):
    known = set(map(id, before))  # `before` keeps them, so no other gets one of these
    return Counter(each.__qualname__ for each in waiting() if id(each) not in known)


async def test_few_coroutines_wait_for_a_consumer(open_socket, set_up):  # noqa: F811
    set_up(IN_MEMORY)
    application = get_asgi_application([path("", Quiet.as_asgi())])
    before = waiting()
    await open_socket(application, headers=OF_ITS_OWN)
    expected = {
        "SocketLimitsMiddleware.__call__": 1,
        "Session.receive": 1,
        "await_many_dispatch": 1,
        "_Inbox._fill": 2,
        "InMemoryChannelLayer.receive": 1,
    }
    await eventually(lambda: names_of_new(before) == expected)


async def test_and_for_one_in_a_room(open_socket, set_up):  # noqa: F811
    set_up(IN_MEMORY)
    of_each = ["RoomConsumer.__call__", "await_many_dispatch", "Member.get"]
    of_each += ["_Inbox._fill"] * 2
    of_the_loop = ["Hub._run", "Hub._keep", "Hub._listen", "InMemoryChannelLayer.receive"]
    before = waiting()
    for count in (1, 2):
        await open_socket(with_rooms(), f"/rooms/lobby/?who={count}")
        expected = Counter(of_the_loop + of_each * count)
        await eventually(lambda: names_of_new(before) == expected)  # noqa: B023


@pytest.mark.parametrize(
    "middleware", [SocketLimitsMiddleware, StrictOriginMiddleware, TokenAuthMiddleware]
)
def test_servers_know_them_for_applications(middleware):
    assert iscoroutinefunction(middleware(None).__call__)
