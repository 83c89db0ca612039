"""Consumers that do what a test asks for: `{"do": "count"}` is answered by `do_count`."""

import os
import threading

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.db import connection, transaction

import onloop
from onloop.rooms.consumers import RoomConsumer
from tests.project.library.models import Author, Book


class Desk(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        answer = await getattr(self, f"do_{content.pop('do')}")(**content)
        await self.send_json(answer)

    async def disconnect(self, code):
        print(f"left with {code}, {await Author.objects.acount()} authors", flush=True)

    async def do_where(self):
        return onloop.where()

    async def do_process(self):
        return {
            "pid": os.getpid(),
            "threads": [thread.name for thread in threading.enumerate()],
        }

    async def do_books(self):
        """A lazy relation for each."""
        return [[book.title, book.author.name] async for book in Book.objects.all()]

    async def do_who(self):
        return self.scope["user"].username

    async def do_visits(self):
        session = self.scope["session"]
        visits = await session.aget("visits", 0) + 1
        await session.aset("visits", visits)
        await session.asave()
        return visits

    async def do_add(self, name):
        async with transaction.atomic():
            await Author.objects.acreate(name=name)
        return await Author.objects.acount()

    async def do_sleep(self, seconds):
        """In a transaction, after a write."""
        async with transaction.atomic():
            await Author.objects.acreate(name="of the sleeper")
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(%s) AS in_a_consumer", [seconds])
        return "awake"

    async def do_lock(self):
        """Waits at the database until somebody else lets go."""
        async with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock_shared(7) AS of_ten_sockets")
        return "let go"

    async def do_raise(self):
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            raise LookupError("of the consumer")


class SyncDesk(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(getattr(self, f"do_{content.pop('do')}")(**content))

    def do_where(self):
        return onloop.where()

    def do_books(self):
        return [[book.title, book.author.name] for book in Book.objects.all()]

    def do_who(self):
        return self.scope["user"].username

    def do_add(self, name):
        with transaction.atomic():
            Author.objects.create(name=name)
        return Author.objects.count()


class OpenRoom(RoomConsumer):
    """Everybody may come in, by the name that they say: `?who=ada`."""

    async def authorise(self):
        return "refused" not in self.query()

    def who(self):
        return self.query().get("who")

    def query(self):
        text = self.scope["query_string"].decode()
        return dict(part.partition("=")[::2] for part in text.split("&"))
