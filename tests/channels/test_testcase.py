"""Consumers see the transaction of a user's `TestCase`, and leave nothing behind."""

from __future__ import annotations

import pytest
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.db import transaction

from tests.channels.conftest import DEADLINE_S
from tests.db.test_testcase import assert_passes, case
from tests.project.library.models import Author

pytestmark = pytest.mark.usefixtures("db_clean")


def write():
    with transaction.atomic():
        Author.objects.create(name=f"number {Author.objects.count()}")
    return sorted(author.name for author in Author.objects.all())


class Direct(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name=f"number {await Author.objects.acount()}")
        await self.send_json(sorted([author.name async for author in Author.objects.all()]))


class Adapted(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(await database_sync_to_async(write)())


class Sync(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(write())


@pytest.mark.parametrize("consumer", [Direct, Adapted, Sync])
def test_a_consumer_is_in_the_transaction_of_the_test(consumer):
    def set_up(cls):
        Author.objects.create(name="of the class")

    async def test(self):
        await Author.objects.acreate(name="of the test")
        client = WebsocketCommunicator(consumer.as_asgi(), "/")
        await client.connect(timeout=DEADLINE_S)
        await client.send_json_to("write")
        seen = await client.receive_json_from(timeout=DEADLINE_S)
        assert seen == ["number 2", "of the class", "of the test"]
        await client.disconnect(timeout=DEADLINE_S)
        assert await Author.objects.acount() == 3

    assert_passes(case(setUpTestData=classmethod(set_up), test_1=test, test_2=test), 2)
    assert not Author.objects.exists()
