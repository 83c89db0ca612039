"""Consumers on named channels, for `manage.py runworker`."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer
from django.db import connection, transaction

import onloop
from tests.project.library.models import Author


class Jobs(AsyncConsumer):
    handled = 0

    async def job_add(self, message):
        self.handled += 1
        async with transaction.atomic():
            await Author.objects.acreate(name=f"{message['name']} in {onloop.where()}")
            await asyncio.sleep(0)
            inside = connection.in_atomic_block
        print(f"added {message['name']}, the {self.handled}th, {inside}", flush=True)

    async def job_fail(self, message):
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            raise LookupError("of the job")

    async def job_stop(self, message):
        raise StopConsumer

    async def job_wait(self, message):
        """In a transaction, after a write, until a file is there."""
        try:
            async with transaction.atomic():
                await Author.objects.acreate(name=message["name"])
                print("waits", flush=True)
                while not Path(message["file"]).exists():
                    await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
        print("waited", flush=True)

    async def job_leave_open(self, message):
        connection.set_autocommit(False)
        await Author.objects.acreate(name="never there")


class SyncJobs(SyncConsumer):
    def job_add(self, message):
        with transaction.atomic():
            Author.objects.create(name=f"{message['name']} in {onloop.where()}")


channel_names = {"jobs": Jobs.as_asgi(), "sync-jobs": SyncJobs.as_asgi()}


@asynccontextmanager
async def noted():
    """A hook of the lifespan."""
    print(f"begins with {await Author.objects.acount()}", flush=True)
    yield
    print(f"ends with {await Author.objects.acount()}", flush=True)


@asynccontextmanager
async def fails():
    raise LookupError("of the hook")
    yield
