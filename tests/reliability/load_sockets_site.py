"""The application of R13's sockets in a server: that of its requests, and consumers beside."""

from __future__ import annotations

from tests.reliability import load_site  # isort: skip - it makes the settings

import asyncio

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import transaction
from django.urls import path

from onloop.channels import get_asgi_application
from tests.project.library.models import Author, Book


class Desk(AsyncWebsocketConsumer):
    """Answers with a query; "wait" is answered from within a transaction that goes on."""

    groups = ("all",)

    async def receive(self, text_data=None, bytes_data=None):
        book = await Book.objects.select_related("author").afirst()
        if text_data == "wait":
            async with transaction.atomic():
                await Author.objects.filter(pk=book.author.pk).aupdate(name=book.author.name)
                await self.send("waits")
                await asyncio.sleep(0.01)
        await self.send(book.author.name)


class Keeps(Desk):
    """Broken on purpose."""

    async def connect(self):
        load_site._kept.append(self)
        await self.accept()


application = get_asgi_application(
    [path("desk/", Desk.as_asgi()), path("keeps/", Keeps.as_asgi())]
)
