"""What holds the loop in a consumer is named, with its message and its cure."""

from __future__ import annotations

import inspect
import logging
import threading
import time

import pytest
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings

import onloop
from onloop import watchdog
from tests.db.eventually import eventually
from tests.stalls import only_of, without_stops

BLOCK_S = 0.6

pytestmark = pytest.mark.usefixtures("fresh_watchdog")


def helper():
    time.sleep(BLOCK_S)


class Blocks(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        time.sleep(BLOCK_S)
        await self.send_json("done")


class CallsHelper(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await database_sync_to_async(helper)()
        await self.send_json("done")


class SyncBlocks(JsonWebsocketConsumer):
    def receive_json(self, content):
        time.sleep(BLOCK_S)
        self.send_json("done")


@onloop.on_loop
class Marked(SyncBlocks):
    pass


def at(function):
    source, first = inspect.getsourcelines(function)
    line = first + next(number for number, text in enumerate(source) if "time.sleep" in text)
    return f"{__file__}:{line}, in {function.__qualname__}, held the event loop"


def in_thread(name):
    return f'add "{__name__}.{name}" to ONLOOP["IN_THREAD"]'


async def said(caplog):
    await eventually(
        lambda: all(thread.name != watchdog.NAME for thread in threading.enumerate()),
        "the end of the watchdog",
    )
    return [r.getMessage() for r in caplog.records if r.name == "onloop.watchdog"]


@pytest.mark.parametrize(
    ("consumer", "code", "cure"),
    [
        (Blocks, Blocks.receive_json, "asgiref.sync.sync_to_async"),
        (CallsHelper, helper, in_thread("helper")),
        (SyncBlocks, SyncBlocks.receive_json, in_thread("SyncBlocks")),
        (Marked, SyncBlocks.receive_json, "mark it @onloop.in_thread in place of"),
    ],
)
async def test_a_consumer_that_blocks_is_named(open_socket, caplog, consumer, code, cure):
    caplog.set_level(logging.INFO, logger="onloop.watchdog")
    with override_settings(ONLOOP={"SYNC_VIEWS": "loop", "STALL_MS": 100}):
        socket = await open_socket(consumer.as_asgi(), "/room/")
        assert await socket.ask("block") == "done"
        line = only_of(await said(caplog), at(code))
    assert "Request: websocket.receive /room/. Cure: " in line
    assert cure in line


@pytest.mark.parametrize(("consumer", "name"), [(CallsHelper, "helper"), (Marked, None)])
async def test_the_cure_is_one(open_socket, caplog, consumer, name):
    caplog.set_level(logging.INFO, logger="onloop.watchdog")
    if name is None:
        consumer = onloop.in_thread(type("Unmarked", (Marked,), {}))
    names = [] if name is None else [f"{__name__}.{name}"]
    with override_settings(ONLOOP={"STALL_MS": 400, "IN_THREAD": names}):
        socket = await open_socket(consumer.as_asgi(), "/room/")
        assert await socket.ask("block") == "done"
        await socket.leave()
        assert without_stops(await said(caplog)) == []
