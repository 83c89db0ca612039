"""A server says by its `send` that the client has left: consumers are told all the same."""

from __future__ import annotations

import asyncio

import pytest
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import transaction

from tests.asgi.conftest import borrowed
from tests.channels.limited import Echo, left, limited, setting
from tests.channels.played import Played
from tests.project.library.models import Author


class ClientDisconnected(OSError):
    """As uvicorn's: ASGI wants a subclass of OSError."""


class Losing(Played):
    """Its `send` raises from `lose` on."""

    error: Exception | None = None
    refused = 0

    def lose(self, error: Exception) -> None:
        self.error = error

    async def _send(self, message):
        if self.error is not None:
            self.refused += 1
            raise self.error
        await super()._send(message)


# The second is uvicorn's own for a moment after it has closed a socket by itself.
ERRORS = [ClientDisconnected(), RuntimeError("Unexpected ASGI message 'websocket.send'")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_who_sends_to_a_client_that_has_left_is_told_by_disconnect(
    db_clean, noted, error
):
    async with Losing(limited()) as server:
        await server.until_sent("websocket.accept")
        server.lose(error)
        server.say("one")
        server.say("two")
        server.feed({"type": "websocket.disconnect", "code": 1001})
        await server.ended()
    assert left == [1001]
    assert server.refused == 1  # nothing is sent any more
    assert noted("cancelled") == 0


class Ticks(Echo):
    """Sends for ever, in a transaction, and takes no message."""

    async def receive(self, text_data=None, bytes_data=None):
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            while True:
                await self.send("tick")
                await asyncio.sleep(0)


async def test_one_that_goes_on_sending_is_cancelled(db_clean, noted):
    with setting(CLOSE_TIMEOUT=0.1):
        async with Losing(limited(Ticks)) as server:
            server.say("begin")
            await server.until_sent("websocket.send")
            server.lose(ClientDisconnected())
            await server.ended()
    assert noted("cancelled") == 1
    assert left == []
    assert not await Author.objects.aexists()
    assert borrowed() == {}


async def test_a_server_that_ends_meanwhile_tells_it_too(db_clean, noted):
    """No message of the server comes any more; our own does."""
    from onloop.channels import close_sockets

    async with Losing(limited()) as server:
        await server.until_sent("websocket.accept")
        server.lose(ClientDisconnected())
        server.say("one")
        while not server.refused:
            await asyncio.sleep(0)
        await close_sockets()
        await server.ended()
    assert left == [1001]


class ClosesTwice(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.close(4001)
        await self.send("what may not be sent")
        raise StopConsumer


class DoesNotAccept(AsyncWebsocketConsumer):
    async def connect(self):
        await self.send("what may not be sent")


@pytest.mark.parametrize("consumer", [ClosesTwice, DoesNotAccept])
async def test_an_error_of_the_consumers_own_is_still_one(db_clean, noted, consumer):
    class Strict(Losing):
        async def _send(self, message):
            kinds = [sent["type"] for sent in self.sent]
            may = kinds == ["websocket.accept"] or message["type"] == "websocket.accept"
            if not may:
                raise RuntimeError("not now")
            await super()._send(message)

    with pytest.raises(RuntimeError, match="not now"):
        async with Strict(limited(consumer)) as server:
            server.say("begin")
            await server.ended()
