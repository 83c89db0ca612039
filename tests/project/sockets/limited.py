"""Consumers that a test brings to their limits."""

import asyncio

from channels.exceptions import StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from django.urls import path

from onloop.channels import socket_stats

from .consumers import Desk


class Limited(Desk):
    async def do_stats(self):
        return socket_stats()

    async def do_tasks(self):
        return len(asyncio.all_tasks())

    async def do_whose(self):
        token = self.scope["token"]
        return [self.scope["user"].username, token and token.name]

    async def do_echo(self, text):
        return text

    async def do_close(self, code):
        await self.close(code)
        raise StopConsumer

    async def do_push(self, count, size):
        """More than its client takes, if that does not read."""
        for _ in range(count):
            await self.send("a" * size)
        return "pushed"

    async def do_rest(self, seconds):
        """Take no message."""
        await asyncio.sleep(seconds)
        return "awake"


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)


class SyncJson(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(content)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


websocket_urlpatterns = [
    path("sockets/json/", Json.as_asgi()),
    path("sockets/json-sync/", SyncJson.as_asgi()),
    path("sockets/echo/", Echo.as_asgi()),
    path("sockets/limited/", Limited.as_asgi()),
]
