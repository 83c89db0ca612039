"""A consumer that is cancelled, or fails: its transaction is rolled back, nothing is left."""

from __future__ import annotations

import asyncio
import threading

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.db import connection, transaction
from django.utils import translation

from onloop.channels.consumers import await_many_dispatch
from tests.asgi.conftest import borrowed
from tests.channels.conftest import DEADLINE_S
from tests.db.eventually import eventually
from tests.project.library.models import Author


class Sleeps(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name="never committed")
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60) AS in_a_cancelled_consumer")


@pytest.mark.only_on("postgresql")
async def test_a_query_is_cancelled_at_the_server(open_socket, pg_activity):
    socket = await open_socket(Sleeps.as_asgi())
    await socket.send_json_to("sleep")
    await eventually(lambda: pg_activity("in_a_cancelled_consumer", state="active"))
    await socket.cancel()
    assert not pg_activity("in_a_cancelled_consumer", state="active")
    assert borrowed() == {}
    assert not await Author.objects.aexists()


class Waits(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name=content)
            if content == "waits":
                entered.set()
                await asyncio.Event().wait()
        await self.send_json("written")


entered: asyncio.Event


@pytest.fixture(autouse=True)
async def _entered():
    global entered  # noqa: PLW0603 - consumers are classes of the module
    entered = asyncio.Event()


@pytest.mark.only_on("postgresql")  # where one may write while another does
async def test_another_socket_is_not_touched(open_socket):
    one = await open_socket(Waits.as_asgi())
    two = await open_socket(Waits.as_asgi())
    await one.send_json_to("waits")
    await entered.wait()
    assert await two.ask("stays") == "written"
    await one.cancel()
    assert await two.ask("stays too") == "written"
    assert {author.name async for author in Author.objects.all()} == {"stays", "stays too"}


class InThread(JsonWebsocketConsumer):
    def receive_json(self, content):
        with transaction.atomic():
            Author.objects.create(name="of the thread")
            thread_entered.set()
            assert thread_goes_on.wait(DEADLINE_S)


thread_entered, thread_goes_on = threading.Event(), threading.Event()


async def test_a_thread_is_waited_for(open_socket):
    """It cannot be cancelled, and its connection is not taken away from it."""
    socket = await open_socket(InThread.as_asgi())
    await socket.send_json_to("begin")
    await eventually(thread_entered.is_set)
    socket.future.cancel()
    await asyncio.sleep(0.05)
    assert not socket.future.done()
    thread_goes_on.set()
    await asyncio.wait([socket.future], timeout=DEADLINE_S)
    assert socket.future.cancelled()
    assert borrowed() == {}
    assert await Author.objects.acount() == 1


class Fails(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name="never committed")
            raise LookupError("of the consumer")


async def test_an_error_ends_the_consumer_and_reaches_the_server(open_socket):
    socket = await open_socket(Fails.as_asgi())
    await socket.send_json_to("fail")
    with pytest.raises(LookupError, match="of the consumer"):
        await asyncio.wait_for(asyncio.shield(socket.future), DEADLINE_S)
    assert not await Author.objects.aexists()


# --- waiting for messages ---------------------------------------------------------------------


async def never():
    await asyncio.Event().wait()


async def test_a_second_cancellation_is_taken_for_one(db_clean):
    """Channels' own swallows it."""

    async def stubborn():
        try:
            await never()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise

    async def dispatch(message):
        raise AssertionError("there is no message")

    task = asyncio.create_task(await_many_dispatch([stubborn], dispatch))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_S)
    assert task.cancelled()


async def test_when_one_source_fails_the_other_is_not_waited_for_any_more(db_clean):
    """Channels' own leaves its task behind."""
    before = asyncio.all_tasks()

    async def breaks():
        raise ConnectionError("of the layer")

    with pytest.raises(ConnectionError, match="of the layer"):
        await await_many_dispatch([breaks, never], None)
    assert asyncio.all_tasks() == before


class Remembers(AsyncJsonWebsocketConsumer):
    """What a socket sets for itself holds for its next message, as ever in Channels."""

    async def receive_json(self, content):
        before = translation.get_language()
        translation.activate(content)
        await self.send_json(before)


async def test_a_language_is_the_socket_s_own(open_socket):
    one = await open_socket(Remembers.as_asgi())
    two = await open_socket(Remembers.as_asgi())
    assert await one.ask("de") == "en"
    assert await two.ask("fr") == "en"
    assert await one.ask("en") == "de"
