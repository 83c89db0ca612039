"""Sockets that their server cancels at any moment: all or nothing, and nothing is left."""

from __future__ import annotations

import asyncio

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import channel_layers
from django.db import transaction

from onloop import rooms
from onloop.channels import SocketLimitsMiddleware
from onloop.rooms import hub as hubs
from onloop.rooms.models import Message, Room
from onloop.testing import LeakLedger
from tests.channels.limited import limited
from tests.channels.swept import serve, sweep
from tests.db.eventually import eventually
from tests.project.library.models import Author
from tests.rooms.conftest import IN_MEMORY, set_up  # noqa: F401 - a fixture
from tests.rooms.visitors import application as with_rooms

CONNECT = {"type": "websocket.connect"}
LEAVE = {"type": "websocket.disconnect", "code": 1000}


class Works(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        moment = self.scope["moment"]
        moment()
        async with transaction.atomic():
            await Author.objects.acreate(name=text_data)
            moment()
            await asyncio.sleep(0)
            moment()
            # Here, since a cancellation that comes during COMMIT is raised after it.
            self.scope["whole"].append(text_data)
        await self.send("done")

    async def disconnect(self, code):
        self.scope["moment"]()
        await Author.objects.acount()
        self.scope["moment"]()


class InThread(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        with transaction.atomic():
            Author.objects.create(name=text_data)
        self.scope["whole"].append(text_data)
        self.send("done")


@pytest.fixture
def ledger(tmp_path):
    return LeakLedger(temp_folder=tmp_path, databases=["default"])


@pytest.mark.parametrize("consumer", [Works, InThread])
async def test_a_consumer_is_left_whole(db_clean, set_up, ledger, consumer):  # noqa: F811
    layer = set_up(IN_MEMORY)
    whole = []

    async def begin(moment):
        texts = [{"type": "websocket.receive", "text": text} for text in ("a", "b")]
        messages = [dict(CONNECT), *texts, dict(LEAVE)]
        await serve(limited(consumer), moment, messages, whole=whole)

    async def check():
        names = [author.name async for author in Author.objects.order_by("pk")]
        assert names == whole
        whole.clear()
        assert not layer.channels, "a channel nobody receives from"
        await Author.objects.all().adelete()

    cancelled = await sweep(begin, check, ledger)
    print(f"{consumer.__name__}: cancelled {cancelled} times")
    assert cancelled > 30


async def test_a_room_is_left(db_clean, set_up, ledger):  # noqa: F811
    set_up(IN_MEMORY)
    loop = asyncio.get_running_loop()
    application = SocketLimitsMiddleware(with_rooms())

    async def begin(moment):
        post = {"type": "websocket.receive", "text": '{"type": "post", "body": 1, "key": "k"}'}
        address = {"path": "/rooms/lobby/", "query_string": b"who=ada"}
        messages = [dict(CONNECT), post, dict(LEAVE)]
        await serve(application, moment, messages, **address)

    async def check():
        await eventually(lambda: loop not in hubs._hubs)
        assert await rooms.apresent("lobby") == []
        assert not channel_layers["default"].channels
        assert not channel_layers["default"].groups
        numbers = [message.number async for message in Message.objects.order_by("number")]
        room = await Room.objects.filter(name="lobby").afirst()
        assert numbers == list(range(1, (room.last if room else 0) + 1))
        await Room.objects.all().adelete()

    cancelled = await sweep(begin, check, ledger)
    print(f"a room: cancelled {cancelled} times")
    assert cancelled > 30
