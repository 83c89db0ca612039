"""R1, for consumers: a socket that is cancelled at each of its waits, once and twice.

From the handshake to the end: the session and the user are read, one message does a piece of
work, the client leaves. The rule for a transaction is R1's.
"""

from __future__ import annotations

import asyncio

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from django.db import transaction
from django.test import Client
from django.urls import path

from tests.project.library.models import Author
from tests.reliability import works
from tests.reliability.swept_units import Rule
from tests.reliability.works import Unit


class Works(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        unit = works.units[self.scope["url_route"]["kwargs"]["number"]]
        assert self.scope["user"].username == "ann"
        await works.WORKS[unit.work](unit)
        await self.send("done")


class InThread(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        unit = works.units[self.scope["url_route"]["kwargs"]["number"]]
        with unit.run(), transaction.atomic():
            Author.objects.create(name=unit.row("a"))
            with transaction.atomic():
                Author.objects.create(name=unit.row("b"))
            unit.whole = True
        self.send("done")


application = AuthMiddlewareStack(
    URLRouter(
        [
            path("work/<int:number>/", Works.as_asgi()),
            path("in-thread/<int:number>/", InThread.as_asgi()),
        ]
    )
)


async def serve(address, cookie):
    """A server's side: what it sends to the application, one after the other."""
    messages = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "work"},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    sent = []

    async def receive():
        await asyncio.sleep(0)
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message):
        await asyncio.sleep(0)
        sent.append(message["type"])

    scope = {
        "type": "websocket",
        "path": address,
        "headers": [(b"cookie", cookie)],
    }
    await application(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.send"]


def sign_in():
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_user("ann"))
    return f"sessionid={client.cookies['sessionid'].value}".encode()


@pytest.fixture
def swept_socket(db_clean, cancel_sweep, tmp_path):
    """`await swept_socket("name of a work", "work")`: the sweep, with all checks."""

    async def swept(name, place):
        from onloop import bridge

        await Author.objects.abulk_create(Author(name=each) for each in works.FIXED)
        cookie = await bridge.run(sign_in)
        rule = Rule(db_clean, tmp_path)

        def scenario():
            number = len(works.units)
            works.units[number] = Unit(number, name)
            return serve(f"/{place}/{number}/", cookie)

        sweep = await cancel_sweep(scenario, prepare=rule.prepare, check=rule.check)
        print(f"R1, a consumer that {name}: {sweep}")
        return sweep

    return swept


@pytest.mark.parametrize("name", ["queries", "commits", "savepoints", "gathers_blocks", "hops"])
async def test_a_consumer_that_is_cancelled_at_any_of_its_waits(swept_socket, name):
    sweep = await swept_socket(name, "work")
    assert sweep.runs > 20


async def test_a_sync_consumer_that_is_cancelled_at_any_of_its_waits(swept_socket):
    sweep = await swept_socket("sync", "in-thread")
    assert sweep.runs > 20
