"""Consumers that are busy with a message of their layer, and not of their client."""

from __future__ import annotations

import asyncio

import pytest
from channels.layers import get_channel_layer
from django.db import transaction
from django.test import override_settings

from onloop.channels import shutdown
from onloop.channels.busy import of_socket
from tests.asgi.conftest import borrowed
from tests.channels.conftest import DEADLINE_S
from tests.channels.limited import Echo, closed_with, left, limited, setting
from tests.channels.played import Played
from tests.loops import until
from tests.project.library.models import Author


class Told(Echo):
    """Is told by a group, and does not end with that by itself."""

    groups = ["all"]

    async def news(self, message):
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            await self.send("begins")
            await asyncio.sleep(3600)


class Counts(Echo):
    groups = ["all"]

    async def news(self, message):
        for number in range(3):
            moments.append(of_socket.get().until)
            await asyncio.sleep(0.01)  # uvloop's clock tells milliseconds
            await self.send(str(number))
        await self.send("handled")


moments: list[float] = []


@pytest.fixture(autouse=True)
def _layer():
    moments.clear()
    layers = {"default": {"BACKEND": "onloop.channels.layers.InMemoryChannelLayer"}}
    with override_settings(CHANNEL_LAYERS=layers):
        yield


async def tell(server):
    await server.until_sent("websocket.accept")
    await get_channel_layer().group_send("all", {"type": "news"})
    await server.until_sent("websocket.send")


async def test_one_that_is_stuck_is_told_and_cancelled(db_clean, noted):
    """Though it waits for its client's next message meanwhile."""
    with setting(CONSUMER_TIMEOUT=0.3, CLOSE_TIMEOUT=0.2):
        async with Played(limited(Told)) as server:
            await tell(server)
            await closed_with(server, 1013)
    assert (noted("stuck"), noted("cancelled")) == (1, 1)
    assert not await Author.objects.aexists()
    assert borrowed() == {}


async def test_one_that_sends_has_its_time_again_and_then_any_time(db_clean, noted):
    with setting(CONSUMER_TIMEOUT=3600):
        async with Played(limited(Counts)) as server:
            await tell(server)
            await server.until_sent("websocket.send", 4)
            (session,) = shutdown._loops[asyncio.get_running_loop()].open
            await until(lambda: session._busy.until is None)
    assert moments == sorted(set(moments))
    assert len(moments) == 3
    assert noted("stuck") == 0


async def test_a_server_that_cancels_does_not_wait_for_one(db_clean, noted):
    """As for one that is busy with a message of its client."""
    with setting(CLOSE_TIMEOUT=DEADLINE_S * 10):
        async with Played(limited(Told)) as server:
            await tell(server)
            server.task.cancel()
            await server.ended()
            assert server.task.cancelled()
    assert left == []
    assert not await Author.objects.aexists()
    assert borrowed() == {}
