"""Messages of channel layers: in memory, and by Redis in both ways of channels_redis."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.db import connection, transaction
from django.test import override_settings

import onloop
from tests.asgi.conftest import borrowed
from tests.channels.conftest import DEADLINE_S
from tests.db.eventually import eventually
from tests.project.library.models import Author

LAYERS = {
    "memory": "onloop.channels.layers.InMemoryChannelLayer",
    "memory of Channels": "channels.layers.InMemoryChannelLayer",
    "redis": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}


@pytest.fixture(params=LAYERS)
async def layer(request, open_socket):  # sockets end before it does
    config = {}
    if not request.param.startswith("memory"):
        config = {"hosts": [request.getfixturevalue("redis_server").url]}
    backend = {"BACKEND": LAYERS[request.param], "CONFIG": config}
    with override_settings(CHANNEL_LAYERS={"default": backend}):
        layer = get_channel_layer()
        await layer.flush()
        yield layer
        await layer.flush()
        if hasattr(layer, "close_pools"):
            await layer.close_pools()


class Room(AsyncJsonWebsocketConsumer):
    groups = ["room"]

    async def connect(self):
        async with transaction.atomic():  # tasks that a layer makes here outlive the block
            await self.channel_layer.group_add("news", self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name=content)
            await self.channel_layer.group_send("news", {"type": "new.author"})
            if content == "waits":
                async with asyncio.timeout(DEADLINE_S):
                    await told.wait()
            inside = connection.in_atomic_block
        await self.send_json(["written", inside])

    async def new_author(self, event):
        await self.send_json([
            await Author.objects.acount(), connection.in_atomic_block, onloop.where()
        ])  # fmt: skip
        told.set()


class SyncRoom(JsonWebsocketConsumer):
    groups = ["room"]

    def receive_json(self, content):
        async_to_sync(self.channel_layer.group_send)("room", {"type": "new.author"})

    def new_author(self, event):
        self.send_json([Author.objects.count(), onloop.where()])


told: asyncio.Event


@pytest.fixture(autouse=True)
async def _told():
    global told  # noqa: PLW0603 - consumers are classes of the module
    told = asyncio.Event()


async def test_a_group_s_message_is_a_unit_of_its_own(layer, open_socket, started_threads):
    one = await open_socket(Room.as_asgi())
    two = await open_socket(Room.as_asgi())
    started_threads.clear()
    await one.send_json_to("a")
    answers = [await one.receive_json_from(DEADLINE_S) for _ in range(2)]
    assert sorted(answers, key=str) == sorted(
        [["written", True], [1, False, "bridge"]], key=str
    )
    (count, *rest) = await two.receive_json_from(DEADLINE_S)
    assert rest == [False, "bridge"]
    assert count in (0, 1)  # it may come before the other has committed
    await eventually(lambda: not borrowed(), "no connection between messages")
    await one.leave()
    await two.leave()
    assert started_threads == []


async def test_a_transaction_of_the_sender_is_not_the_receiver_s(layer, open_socket):
    one = await open_socket(Room.as_asgi())
    two = await open_socket(Room.as_asgi())
    await one.send_json_to("waits")
    assert await two.receive_json_from(DEADLINE_S) == [0, False, "bridge"]
    assert await one.receive_json_from(DEADLINE_S) == ["written", True]
    await one.leave()
    await two.leave()


async def test_a_sync_consumer_sends_to_groups_and_hears_them(layer, open_socket):
    one = await open_socket(SyncRoom.as_asgi())
    two = await open_socket(SyncRoom.as_asgi())
    await one.send_json_to("hello")
    assert await one.receive_json_from(DEADLINE_S) == [0, "thread"]
    assert await two.receive_json_from(DEADLINE_S) == [0, "thread"]
    await one.leave()
    await two.leave()


async def test_a_message_from_outside_of_any_consumer(layer, open_socket):
    socket = await open_socket(Room.as_asgi())
    async with onloop.scope(), transaction.atomic():
        await Author.objects.acreate(name="uncommitted")
        await layer.group_send("news", {"type": "new.author"})
        assert await socket.receive_json_from(DEADLINE_S) == [0, False, "bridge"]
    await socket.leave()
