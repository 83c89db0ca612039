"""Each message of a consumer is a unit of work: a bridge, a scope, and no thread."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading

import pytest
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer
from channels.db import aclose_old_connections, database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.testing import HttpCommunicator
from django.db import connection, transaction
from django.test import override_settings

import onloop
from onloop.db.scope import current_scope
from tests.asgi.conftest import borrowed
from tests.channels.conftest import DEADLINE_S
from tests.db.eventually import eventually
from tests.project.library.models import Author, Book


def look():
    """A query, a lazy relation, a transaction that is rolled back; and where that ran."""
    book = Book.objects.get()
    try:
        with transaction.atomic():
            Author.objects.create(name="never there")
            raise LookupError
    except LookupError:
        pass
    return [book.author.name, Author.objects.count(), onloop.where()]


async def alook():
    book = await Book.objects.aget()
    try:
        async with transaction.atomic():
            await Author.objects.acreate(name="never there")
            raise LookupError
    except LookupError:
        pass
    return [book.author.name, await Author.objects.acount(), onloop.where()]


class Async(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(json.dumps(await alook()))


class AsyncJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(await alook())


class Sync(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(json.dumps(look()))


class SyncJson(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(look())


@onloop.on_loop
class SyncMarked(SyncJson):
    pass


class DispatchOverridden(AsyncJson):
    async def dispatch(self, message):
        self.found = await Author.objects.acount()
        await super().dispatch(message)


class OfHttp(AsyncHttpConsumer):
    async def handle(self, body):
        await self.send_response(200, json.dumps(await alook()).encode())


@pytest.fixture
def book(db_clean):
    author = Author.objects.create(name="A. Loop")
    return Book.objects.create(title="One", author=author, published=datetime.date(2001, 1, 1))


@pytest.mark.parametrize("consumer", [Async, AsyncJson, SyncMarked, DispatchOverridden])
async def test_a_consumer_on_the_loop_waits_for_the_database_without_a_thread(
    open_socket, book, consumer, started_threads
):
    socket = await open_socket(consumer.as_asgi())
    assert await socket.ask("look") == ["A. Loop", 1, "bridge"]
    assert await socket.ask("again") == ["A. Loop", 1, "bridge"]
    await socket.leave()
    assert started_threads == []


@pytest.mark.parametrize("consumer", [Sync, SyncJson])
async def test_a_sync_consumer_is_in_a_thread_on_the_messages_own_connection(
    open_socket, book, consumer, only_connection
):
    socket = await open_socket(consumer.as_asgi())
    assert await socket.ask("look") == ["A. Loop", 1, "thread"]
    assert await socket.ask("again") == ["A. Loop", 1, "thread"]


@pytest.fixture
def only_connection(monkeypatch):
    """Whoever opens a connection in a thread, in place of using the scope's, fails."""
    from onloop.db.backends.base import ScopedWrapper

    connect = ScopedWrapper.connect

    def connecting(wrapper):
        assert wrapper.scope is not None, "a stock connection was opened"
        connect(wrapper)

    monkeypatch.setattr(ScopedWrapper, "connect", connecting)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"SYNC_VIEWS": "loop"}, "bridge"),
        ({"ON_LOOP": ["tests.channels"]}, "bridge"),
        ({"ON_LOOP": ["channels"]}, "bridge"),  # the base class is of Channels
        ({"SYNC_VIEWS": "loop", "IN_THREAD": [f"{__name__}.SyncJson"]}, "thread"),
        ({}, "thread"),
    ],
)
async def test_the_settings_of_views_say_where_a_sync_consumer_runs(
    open_socket, book, settings, place
):
    with override_settings(ONLOOP=settings):
        socket = await open_socket(SyncJson.as_asgi())
        assert await socket.ask("look") == ["A. Loop", 1, place]


async def test_an_http_consumer(book, started_threads):
    client = HttpCommunicator(OfHttp.as_asgi(), "GET", "/")
    response = await client.get_response(timeout=DEADLINE_S)
    assert json.loads(response["body"]) == ["A. Loop", 1, "bridge"]
    await client.wait(DEADLINE_S)
    assert started_threads == []


async def test_two_hundred_messages_on_twenty_sockets_start_no_thread(
    open_socket, book, started_threads
):
    sockets = [await open_socket(AsyncJson.as_asgi()) for _ in range(20)]
    for _ in range(10):
        answers = await asyncio.gather(*(socket.ask("look") for socket in sockets))
        assert answers == [["A. Loop", 1, "bridge"]] * 20
    assert started_threads == []


# --- a scope for each message -----------------------------------------------------------------


class Scopes(AsyncJsonWebsocketConsumer):
    seen: list

    async def connect(self):
        self.seen.append(current_scope())
        await Author.objects.acount()
        await self.accept()

    async def receive_json(self, content):
        self.seen.append(current_scope())
        connection.ensure_connection()  # which would keep it until the scope ends
        await self.send_json(borrowed())


async def test_each_message_has_a_scope_that_ends_with_it(open_socket, monkeypatch):
    monkeypatch.setattr(Scopes, "seen", [], raising=False)
    socket = await open_socket(Scopes.as_asgi())
    assert list((await socket.ask("one")).values()) == [1]
    await socket.ask("two")
    await eventually(lambda: not borrowed(), "no connection between messages")
    await socket.leave()
    assert len(set(map(id, Scopes.seen))) == 3
    assert all(scope.ended for scope in Scopes.seen)


class LeavesOpen(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        if content == "open":
            await transaction.atomic().__aenter__()
            await Author.objects.acreate(name="left open")
        await self.send_json([connection.in_atomic_block, await Author.objects.acount()])


async def test_a_transaction_left_open_is_rolled_back_at_the_end_of_its_message(
    open_socket, caplog
):
    socket = await open_socket(LeavesOpen.as_asgi())
    assert await socket.ask("open") == [True, 1]
    assert await socket.ask("look") == [False, 0]
    assert "left open at the end of its scope" in caplog.text


class Middleware:
    """Asks the database before the consumer begins, in a coroutine without a bridge."""

    def __init__(self, inner, alias):
        self.inner = inner
        self.alias = alias

    async def __call__(self, scope, receive, send):
        asked = Author.objects.using(self.alias)
        count = await asked.acount()
        await database_sync_to_async(asked.count)()
        await self.inner({**scope, "count": count}, receive, send)


class Counted(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json([self.scope["count"], borrowed()])


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_what_middleware_asks_the_database_keeps_no_connection(
    open_socket, extra_alias, mode
):
    alias = extra_alias(mode, OPTIONS={"pool": {"mode": mode}})
    socket = await open_socket(Middleware(Counted.as_asgi(), alias))
    assert await socket.receive_json_from(DEADLINE_S) == [0, {}]
    await socket.leave()


# --- `database_sync_to_async` -----------------------------------------------------------------


def place_and_count():
    return [onloop.where(), Author.objects.count()]


@database_sync_to_async
def decorated(word):
    return [word, *place_and_count()]


class Adapted(AsyncJsonWebsocketConsumer):
    @database_sync_to_async
    def method(self, word):
        return [word, *place_and_count()]

    async def receive_json(self, content):
        async with transaction.atomic():
            await Author.objects.acreate(name="of the message")
            answers = [
                await database_sync_to_async(place_and_count)(),
                await decorated("function"),
                await self.method("method"),
                await database_sync_to_async(place_and_count, thread_sensitive=False)(),
            ]
            await aclose_old_connections()
            assert connection.in_atomic_block
            transaction.set_rollback(True)
        await self.send_json(answers)


async def test_database_sync_to_async_is_on_the_loop_and_in_the_transaction(
    open_socket, started_threads
):
    socket = await open_socket(Adapted.as_asgi())
    assert await socket.ask("all") == [
        ["bridge", 1],
        ["function", "bridge", 1],
        ["method", "bridge", 1],
        ["bridge", 1],
    ]
    assert started_threads == []


async def test_a_prefix_moves_a_function_into_a_thread_on_the_same_connection(
    open_socket, only_connection
):
    name = f"{__name__}.place_and_count"
    with override_settings(ONLOOP={"IN_THREAD": [name]}):
        socket = await open_socket(Adapted.as_asgi())
        answers = await socket.ask("all")
    assert answers[0] == ["thread", 1]
    assert answers[1] == ["function", "bridge", 1]


def pin():
    connection.ensure_connection()


async def test_it_works_in_any_coroutine_and_keeps_no_connection(db_clean, started_threads):
    assert await decorated("alone") == ["alone", "bridge", 0]
    await database_sync_to_async(pin)()
    assert borrowed() == {}
    async with transaction.atomic():
        await Author.objects.acreate(name="in the block")
        assert await decorated("block") == ["block", "bridge", 1]
        transaction.set_rollback(True)
    assert started_threads == []


async def test_an_executor_of_the_callers_is_used(db_clean):
    from concurrent.futures import ThreadPoolExecutor

    def name():
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="my-own") as executor:
        call = database_sync_to_async(name, thread_sensitive=False, executor=executor)
        assert (await call()).startswith("my-own")


async def test_a_subclass_that_does_things_in_the_thread_keeps_it(db_clean):
    from channels.db import DatabaseSyncToAsync

    class Tenants(DatabaseSyncToAsync):
        def thread_handler(self, loop, *args, **kwargs):
            entered.append(threading.current_thread())
            return super().thread_handler(loop, *args, **kwargs)

    entered = []
    assert await Tenants(lambda: "done")() == "done"
    assert entered not in ([], [threading.current_thread()])


def test_it_works_in_synchronous_code(db_clean):
    with transaction.atomic():
        Author.objects.create(name="in the block")
        assert async_to_sync(decorated)("sync")[2] == 1


async def test_what_it_wraps_may_raise(db_clean):
    with pytest.raises(Author.DoesNotExist):
        await database_sync_to_async(Author.objects.get)(name="nobody")


# --- workers ----------------------------------------------------------------------------------


class Works(AsyncConsumer):
    async def work_do(self, message):
        await Author.objects.acreate(name=message["name"])
        done.append(onloop.where())


done: list = []


async def test_a_worker_s_consumer(db_clean, started_threads):
    from channels.layers import InMemoryChannelLayer
    from channels.routing import ChannelNameRouter, ProtocolTypeRouter
    from channels.worker import Worker

    done.clear()
    layer = InMemoryChannelLayer()
    router = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": Works.as_asgi()})})
    worker = asyncio.create_task(Worker(router, ["jobs"], layer).handle())
    await layer.send("jobs", {"type": "work.do", "name": "a"})
    await layer.send("jobs", {"type": "work.do", "name": "b"})
    await eventually(lambda: len(done) == 2)
    worker.cancel()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if not task.get_name().startswith("pytest"):
            task.cancel()
            await asyncio.wait([task])
    assert done == ["bridge", "bridge"]
    assert await Author.objects.acount() == 2
    assert started_threads == []
