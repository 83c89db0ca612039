"""Consumers with limits, for tests that play the server."""

from __future__ import annotations

import asyncio

from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from django.db import transaction
from django.test import override_settings

from onloop.channels import SocketLimitsMiddleware
from tests.project.library.models import Author


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code):
        left.append(code)


class EchoJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)

    async def disconnect(self, code):
        left.append(code)


class EchoJsonInThread(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(content)


class Sleeps(AsyncWebsocketConsumer):
    """Takes no other message, in a transaction."""

    async def receive(self, text_data=None, bytes_data=None):
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            await self.send("sleeps")
            await asyncio.sleep(3600)

    async def disconnect(self, code):
        left.append(code)


# The codes with which consumers were left since a test began.
left: list[int] = []


def limited(consumer=Echo):
    application = consumer.as_asgi() if hasattr(consumer, "as_asgi") else consumer
    return SocketLimitsMiddleware(application)


def setting(**values):
    return override_settings(ONLOOP={f"SOCKET_{name}": value for name, value in values.items()})


async def closed_with(server, code):
    assert (await server.until_sent("websocket.close"))["code"] == code
    await server.ended()
