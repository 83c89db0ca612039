"""R22: fuzzed frames and messages of sockets: no exception that is not documented.

In process, ASGI messages of any shape go to consumers of each kind behind the limits; on real
servers, frames do that no client library sends. A consumer ends as if its client had left,
nothing is logged as an error, and the next socket works.

Documented, and a server's own: uvicorn logs a traceback where text is not UTF-8
(docs/websocket-limits.md).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onloop
from onloop.channels import SocketLimitsMiddleware, faults
from tests.channels.played import Played
from tests.channels.raw import CLOSE, RawClient
from tests.reliability.scale import LONG_S, size
from tests.servers import Serving

pytestmark = pytest.mark.timeout(LONG_S)

EXAMPLES = settings(
    max_examples=size(60, full=20_000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
FRAMES = settings(EXAMPLES, max_examples=size(80, full=5_000))
LIMITS = {"SOCKET_MAX_MESSAGE": 1000, "SOCKET_BURST": 20, "SOCKET_RATE": 0.001}


# --- ASGI messages ----------------------------------------------------------------------------


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)


class JsonOfItsOwn(Json):
    @classmethod
    async def decode_json(cls, text_data):
        return await super().decode_json(text_data)


@onloop.on_loop
class SyncJson(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(content)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON_TEXTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
).map(json.dumps)
TEXTS = st.one_of(
    JSON_TEXTS,
    st.text(st.characters(codec=None), max_size=50),
    st.sampled_from(
        ["", "{", "[" * 990, "[" * 100_000, "NaN", "-Infinity", "\x00", "\ud800", "9" * 999]
    ),
    st.integers(900, 1100).map(lambda length: "é" * length),
)
FIELDS = st.one_of(TEXTS, st.binary(max_size=50), st.none(), st.integers(), st.lists(st.none()))
KINDS = st.one_of(
    st.just("websocket.receive"),
    st.sampled_from(
        [
            "websocket.connect2",
            "websocket.",
            "",
            ".",
            "_x",
            "dispatch",
            "send",
            "close",
            "accept",
        ]
    ),
    st.text(max_size=10),
)
MESSAGES = st.one_of(
    TEXTS.map(lambda text: {"type": "websocket.receive", "text": text}),
    st.binary(max_size=50).map(lambda data: {"type": "websocket.receive", "bytes": data}),
    st.builds(
        lambda kind, more: {**more, "type": kind},
        KINDS,
        st.dictionaries(st.sampled_from(["text", "bytes", "code"]), FIELDS),
    ),
)


async def play(consumer, messages):
    with override_settings(ONLOOP=LIMITS):
        async with Played(SocketLimitsMiddleware(consumer.as_asgi())) as server:
            for message in messages:
                server.feed(message)
    kinds = [message["type"] for message in server.sent]
    assert kinds[0] == "websocket.accept"
    assert set(kinds[1:-1]) <= {"websocket.send"}, kinds
    return server


@pytest.fixture
def no_errors(caplog):
    caplog.set_level(logging.ERROR)
    yield
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("consumer", [Json, JsonOfItsOwn, SyncJson, Echo])
def test_any_messages(no_errors, consumer):
    @EXAMPLES
    @given(st.lists(MESSAGES, max_size=8))
    def fuzz(messages):
        asyncio.run(play(consumer, messages))

    fuzz()


def test_errors_of_malformed_messages_that_are_raised_are_found(monkeypatch):
    monkeypatch.setattr("onloop.channels.session.is_clients_fault", lambda error: False)
    with pytest.raises(json.JSONDecodeError):
        asyncio.run(play(Json, [{"type": "websocket.receive", "text": "{"}]))
    assert not faults.is_clients_fault(ValueError())


# --- frames -----------------------------------------------------------------------------------

APPLICATION = "tests.project.asgi_limited:application"
ENV = (("ONLOOP_TEST_ONLOOP", json.dumps({**LIMITS, "SOCKET_MAX_PER_ADDRESS": 0})),)
SERVERS = [
    Serving("uvicorn", application=APPLICATION, env=ENV),
    Serving("uvicorn", application=APPLICATION, env=ENV, arguments=("--ws", "wsproto")),
    Serving("daphne", application=APPLICATION, env=ENV),
    Serving("hypercorn", application=APPLICATION, env=ENV),
]
PAYLOADS = st.one_of(
    st.binary(max_size=200),
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.just(b'{"do": "where"}'),
    st.sampled_from([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"a" * 70_000]),
)
# Payload, opcode, whether it is the last of its message, reserved bits.
WHOLE = st.tuples(PAYLOADS, st.sampled_from([1, 1, 1, 2]), st.just(True), st.just(0))
CONTROL = st.tuples(
    st.binary(max_size=125), st.sampled_from([9, 10]), st.just(True), st.just(0)
)
FRAGMENTS = st.lists(PAYLOADS, min_size=2, max_size=4).map(
    lambda pieces: [
        (piece, 0 if place else 1, place == len(pieces) - 1, 0)
        for place, piece in enumerate(pieces)
    ]
)
BROKEN = st.tuples(
    PAYLOADS, st.integers(0, 15), st.booleans(), st.sampled_from([0, 0x40, 0x10, 0x70])
)
SEQUENCES = st.lists(
    st.one_of(WHOLE.map(lambda frame: [frame]), CONTROL.map(lambda frame: [frame]), FRAGMENTS)
)


PATHS = ["/sockets/json/", "/sockets/json-sync/", "/sockets/echo/"]


# Of uvicorn: it logs an exception for text that is not UTF-8, and fails if a frame that closes
# the socket came along with that.
DOCUMENTED = "in send_receive_event_to_app"


def tracebacks(log):
    """Those that no page documents."""
    found = re.findall(r"^ *(?:\+ |\| )?Traceback.*\n(?:[ |+].*\n)*", log, re.MULTILINE)
    assert len(found) >= log.count("Traceback (most recent call last)") - log.count("| Trace")
    return [traceback for traceback in found if DOCUMENTED not in traceback]


@pytest.mark.parametrize(
    "asgi_server", SERVERS, ids=lambda s: "-".join([s.server, *s.arguments[1:]]), indirect=True
)
def test_any_frames(asgi_server):
    def socket(path):
        return RawClient(asgi_server.port, path)

    @FRAMES
    @given(sequences=SEQUENCES, last=st.lists(BROKEN, max_size=2), path=st.sampled_from(PATHS))
    def fuzz(sequences, last, path):
        with socket(path) as client:
            assert client.status == 101
            try:
                for payload, opcode, fin, bits in [*itertools.chain(*sequences), *last]:
                    client.frame(payload, opcode, fin=fin, bits=bits)
                client.frame(b"\x03\xe8", CLOSE)
            except ConnectionError:
                pass  # it has been closed meanwhile
            client.read_to_the_end()

    fuzz()
    with socket(PATHS[0]) as client:
        client.say("where")
        assert client.socket.recv(1000)[2:] == b'{"do": "where"}'
    assert tracebacks(asgi_server.new_log()) == []
