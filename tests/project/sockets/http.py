"""Consumers of HTTP: one that streams, one that waits for news, one that takes a body."""

import asyncio
import json

from channels.generic.http import AsyncHttpConsumer
from django.db import transaction

import onloop
from tests.project.library.models import Author, Book


class Stream(AsyncHttpConsumer):
    """A line for each book, each with a query of its own."""

    async def handle(self, body):
        await self.send_headers(headers=[(b"content-type", b"text/plain")])
        async for book in Book.objects.order_by("pk"):
            line = f"{book.title} by {book.author.name}, {onloop.where()}\n"
            await self.send_body(line.encode(), more_body=True)
        await self.send_body(b"")


class Poll(AsyncHttpConsumer):
    """Waits for a message of a group, and answers with the authors there are by then."""

    async def handle(self, body):
        self.name = await self.channel_layer.new_channel()
        await self.channel_layer.group_add("news", self.name)
        print("polls", flush=True)
        try:
            async with asyncio.timeout(float(body or b"60")):
                await self.channel_layer.receive(self.name)
        except TimeoutError:
            await self.send_response(204, b"")
            return
        names = await Author.objects.order_by("pk").values_list("name", flat=True).alist()
        await self.send_response(200, json.dumps(names).encode())

    async def disconnect(self):
        await self.channel_layer.group_discard("news", self.name)
        print("left", flush=True)


class LongLived(AsyncHttpConsumer):
    """A response without an end: each message of a group is a unit of work, as of a socket."""

    async def http_request(self, message):
        await self.channel_layer.group_add("news", self.channel_name)
        await self.send_headers(headers=[(b"content-type", b"text/event-stream")])
        await self.send_body(b": open\n\n", more_body=True)

    async def new_author(self, message):
        count = await Author.objects.acount()
        await self.send_body(b"data: %d\n\n" % count, more_body=True)

    async def disconnect(self):
        await self.channel_layer.group_discard("news", self.channel_name)
        print(f"left with {await Author.objects.acount()}", flush=True)


class Takes(AsyncHttpConsumer):
    async def handle(self, body):
        async with transaction.atomic():
            await Author.objects.acreate(name=f"{len(body)} bytes")
        await self.send_response(200, str(len(body)).encode())

    async def disconnect(self):
        print("told", flush=True)
