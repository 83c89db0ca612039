"""What a socket may do, in process: each limit, its code, and what the consumer is told."""

from __future__ import annotations

import asyncio
import json

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser, User

from onloop.channels import shutdown
from onloop.channels.session import Bucket
from tests.asgi.conftest import borrowed
from tests.channels.limited import (
    Echo,
    EchoJson,
    EchoJsonInThread,
    Sleeps,
    closed_with,
    left,
    limited,
    setting,
)
from tests.channels.played import Played
from tests.project.library.models import Author

# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ({"text": "a" * 20}, True),
        ({"text": "a" * 21}, False),
        ({"text": "é" * 10}, True),
        ({"text": "é" * 11}, False),
        ({"text": "\ud800" * 6}, True),
        ({"text": "\ud800" * 7}, False),
        ({"bytes": b"a" * 20}, True),
        ({"bytes": b"a" * 21}, False),
        ({"text": None, "bytes": b"a" * 21}, False),
        ({"text": ""}, True),
    ],
)
async def test_bytes_of_a_message(db_clean, noted, message, passes):
    with setting(MAX_MESSAGE=20):
        async with Played(limited()) as server:
            server.feed({"type": "websocket.receive", **message})
            if passes:
                await server.until_sent("websocket.send")
            else:
                await closed_with(server, 1009)
    assert noted("too_big") == (not passes)
    assert left == [1000 if passes else 1009]


async def test_messages_a_second(db_clean, noted):
    with setting(RATE=0.001, BURST=5):
        async with Played(limited()) as server:
            for number in range(7):
                server.say(str(number))
            await closed_with(server, 1008)
    answers = [message["text"] for message in server.sent if "text" in message]
    assert answers == list("01234")
    assert left == [1008]
    assert noted("too_fast") == 1


@pytest.mark.parametrize("rate", [0, 1_000_000])
async def test_as_many_as_the_rate_allows(db_clean, noted, rate):
    with setting(RATE=rate, BURST=1000):
        async with Played(limited()) as server:
            for number in range(2000):
                server.say(str(number))
                await server.until_sent("websocket.send", number + 1)
    assert left == [1000]


def test_a_bucket_fills_up_again():
    bucket = Bucket(rate=2, burst=3, now=10)
    assert [bucket.take(10) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(11) for _ in range(3)] == [True, True, False]
    assert not bucket.take(11.4)
    assert bucket.take(11.5)
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.receive"},
        {"type": "websocket.receive", "text": None, "bytes": None},
        {"type": "websocket.receive", "text": 7},
        {"type": "websocket.unknown"},
        {"type": "_dispatch"},
        {"type": "dispatch"},
    ],
)
async def test_what_is_no_message_does_not_reach_the_consumer(db_clean, noted, message):
    async with Played(limited()) as server:
        server.feed(message)
        server.say("next")
        assert (await server.until_sent("websocket.send"))["text"] == "next"


@pytest.mark.parametrize("consumer", [EchoJson, EchoJsonInThread])
@pytest.mark.parametrize(
    "message",
    [
        {"text": "{"},
        {"text": ""},
        {"text": "nul"},
        {"text": "1" * 5000},
        {"text": "[" * 100_000},
        {"bytes": b"{}"},
    ],
    ids=str,
)
async def test_what_is_no_json_closes_the_socket_and_is_no_error(
    db_clean, noted, consumer, message
):
    async with Played(limited(consumer)) as server:
        server.feed({"type": "websocket.receive", **message})
        await closed_with(server, 1007)
    assert noted("malformed") == 1


class Fails(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        json.loads("{")


async def test_an_error_of_the_consumer_s_own_is_raised(db_clean, noted):
    async with Played(limited(Fails)) as server:
        server.say("1")
        await server.ended()
        with pytest.raises(json.JSONDecodeError):
            server.task.result()
        server.task = asyncio.create_task(asyncio.sleep(0))
    assert noted("malformed") == 0


# --- how many ---------------------------------------------------------------------------------


async def test_sockets_of_a_user(noted):
    ann = User(pk=7)
    with setting(MAX_PER_USER=2):
        async with Played(limited(), user=ann) as one, Played(limited(), user=ann) as two:
            await one.until_sent("websocket.accept")
            await two.until_sent("websocket.accept")
            async with Played(limited(), user=ann) as third:
                await closed_with(third, 1013)
            async with Played(limited(), user=User(pk=8)) as other:
                await other.until_sent("websocket.accept")
        async with Played(limited(), user=ann) as again:
            await again.until_sent("websocket.accept")
    assert noted("too_many") == 1


async def test_sockets_of_an_address(noted):
    with setting(MAX_PER_ADDRESS=1):
        async with Played(limited(), user=AnonymousUser()) as one:
            await one.until_sent("websocket.accept")
            async with Played(limited()) as same:
                await closed_with(same, 1013)
            async with Played(limited(), client=("192.0.2.9", 1)) as other:
                await other.until_sent("websocket.accept")
            async with Played(limited(), user=User(pk=7)) as user:
                await user.until_sent("websocket.accept")
    assert noted("too_many") == 1


async def test_where_the_server_can_say_it_the_answer_is_429(noted):
    extensions = {"websocket.http.response": {}}
    with setting(MAX_PER_ADDRESS=1):
        async with Played(limited()) as one:
            await one.until_sent("websocket.accept")
            async with Played(limited(), extensions=extensions) as same:
                start = await same.until_sent("websocket.http.response.start")
                await same.ended()
    assert start["status"] == 429
    assert (b"retry-after", b"10") in start["headers"]


# --- time -------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read(db_clean, noted):
    with setting(SEND_TIMEOUT=0.1):
        async with Played(limited()) as server:
            await server.until_sent("websocket.accept")
            server.stop_reading()
            server.say("to be echoed")
            await server.ended()
    assert left == [1008]
    assert noted("slow") == 1


async def test_who_waits_for_nothing_is_idle(db_clean, noted):
    with setting(IDLE_TIMEOUT=0.2):
        async with Played(limited()) as server:
            server.say("one")
            await server.until_sent("websocket.send")
            await closed_with(server, 1008)
    assert left == [1008]
    assert noted("idle") == 1


def deadline():
    """When the only socket that is open would be idle, or its consumer stuck."""
    (session,) = shutdown._loops[asyncio.get_running_loop()].open
    return session._deadline


@pytest.mark.parametrize("name", ["IDLE_TIMEOUT", "CONSUMER_TIMEOUT"])
async def test_who_sends_is_neither_idle_nor_stuck(db_clean, noted, name):
    """Whether it waits for a message meanwhile, or not."""

    async def pushing(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        waits = name == "IDLE_TIMEOUT"
        gone = asyncio.create_task(receive()) if waits else None
        for _ in range(5):
            await asyncio.sleep(0.01)
            before = deadline()
            await send({"type": "websocket.send", "text": "still there"})
            moved.append(before < deadline())
        await (gone or receive())

    moved = []
    with setting(**{name: 3600}):
        async with Played(limited(pushing)) as server:
            await server.until_sent("websocket.send", 5)
    assert moved == [True] * 5


async def test_a_consumer_that_takes_no_message(db_clean, noted):
    """It is told, has some time, and is cancelled; its transaction is rolled back."""
    with setting(CONSUMER_TIMEOUT=0.3, CLOSE_TIMEOUT=0.2):
        async with Played(limited(Sleeps)) as server:
            server.say("sleep")
            await closed_with(server, 1013)
    assert (noted("stuck"), noted("cancelled")) == (1, 1)
    assert not await Author.objects.aexists()
    assert borrowed() == {}


async def test_a_consumer_that_ends_in_time_leaves_as_usual(db_clean, noted):
    class Slow(Echo):
        async def receive(self, text_data=None, bytes_data=None):
            await closed.wait()
            await self.send("too late")

    closed = asyncio.Event()
    with setting(CONSUMER_TIMEOUT=0.1):
        async with Played(limited(Slow)) as server:
            server.say("x")
            await server.until_sent("websocket.close")
            closed.set()
            await closed_with(server, 1013)
    assert left == [1013]
    assert (noted("stuck"), noted("cancelled")) == (1, 0)
    assert [message["type"] for message in server.sent][-1] == "websocket.close"


async def test_without_limits_there_are_none(db_clean, noted):
    none = {"RATE": 0, "MAX_PER_USER": 0, "MAX_PER_ADDRESS": 0, "SEND_TIMEOUT": 0}
    with setting(**none, CONSUMER_TIMEOUT=0, IDLE_TIMEOUT=0):
        async with Played(limited()) as server:
            server.say("x")
            await server.until_sent("websocket.send")
