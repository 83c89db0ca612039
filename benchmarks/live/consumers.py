"""The consumers of both: as Channels' documentation writes them."""

from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path

from benchmarks.shop.models import Book

ROOM = "room"


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


class Query(AsyncWebsocketConsumer):
    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        book = await Book.objects.aget(pk=int(text_data))
        await self.send(text_data=book.title)


class Room(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add(ROOM, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(ROOM, self.channel_name)

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(ROOM, {"type": "say", "text": text_data})

    async def say(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


ROUTES = [
    path("echo", Echo.as_asgi()),
    path("query", Query.as_asgi()),
    path("broadcast", Room.as_asgi()),
]
