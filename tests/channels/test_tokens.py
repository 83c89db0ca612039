"""Sockets whose users come by a token or a ticket, in process."""

from __future__ import annotations

import asyncio
import logging

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import modify_settings, override_settings

from onloop.channels import TokenAuthMiddleware, issue_ticket
from onloop.channels.application import socket_stack
from onloop.tokens.models import Ticket, Token
from tests.channels.conftest import DEADLINE_S, Socket
from tests.channels.test_stacks import signed_in
from tests.tokens.people import person


class Who(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        token = self.scope["token"]
        await self.send_json([self.scope["user"].username, token and token.name])


class Chooses(Who):
    async def connect(self):
        await self.accept(self.scope["subprotocols"][0])


class Echoes(Who):
    """What no consumer should do."""

    token = ""

    async def connect(self):
        await self.accept(self.token)


APPLICATION = TokenAuthMiddleware(Who.as_asgi())


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
async def ada(db_clean):
    return await person("ada")


def bearer(text):
    return {"headers": [(b"authorization", b"Bearer " + text.encode())]}


def by_subprotocol(*names):
    return {
        "subprotocols": list(names),
        "headers": [(b"sec-websocket-protocol", ", ".join(names).encode())],
    }


async def ends_with(application=APPLICATION, path="/", **options):
    """The code by which a socket was refused, or the status that it was answered."""
    extensions = options.pop("extensions", None)
    socket = Socket(application, path, **options)
    if extensions is not None:
        socket.scope["extensions"] = extensions
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(DEADLINE_S)
    await socket.wait(DEADLINE_S)
    if answer["type"] == "websocket.http.response.start":
        return answer["status"], dict(answer["headers"])
    assert answer["type"] == "websocket.close"
    return answer["code"]


# --- letting in -------------------------------------------------------------------------------


async def test_a_token_in_the_header(open_socket, ada):
    socket = await open_socket(APPLICATION, **bearer(ada.text))
    assert await socket.ask("who") == ["ada", "ada's"]


async def test_a_token_among_the_subprotocols(db_clean, ada):
    socket = Socket(APPLICATION, "/", **by_subprotocol("bearer", ada.text))
    assert await socket.connect(timeout=DEADLINE_S) == (True, "bearer")
    assert await socket.ask("who") == ["ada", "ada's"]
    await socket.leave()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["chat.v1", "bearer"], "chat.v1"), (["bearer"], "bearer")],
)
async def test_the_application_chooses_among_the_others(ada, offered, chosen):
    application = TokenAuthMiddleware(Chooses.as_asgi())
    socket = Socket(application, "/", **by_subprotocol(*offered, ada.text))
    assert await socket.connect(timeout=DEADLINE_S) == (True, chosen)
    await socket.leave()


class Tells(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json([self.scope["subprotocols"], repr(self.scope["headers"])])


async def test_the_consumer_does_not_see_the_token(ada):
    application = TokenAuthMiddleware(Tells.as_asgi())
    socket = Socket(application, "/", **by_subprotocol("chat.v1", "bearer", ada.text))
    assert (await socket.connect(timeout=DEADLINE_S))[0]
    subprotocols, headers = await socket.ask("what")
    assert subprotocols == ["chat.v1", "bearer"]
    assert ada.text not in headers
    await socket.leave()


async def test_the_token_is_never_echoed(ada):
    application = TokenAuthMiddleware(Echoes.as_asgi(token=ada.text))
    socket = Socket(application, "/", **by_subprotocol("bearer", ada.text))
    assert await socket.connect(timeout=DEADLINE_S) == (True, "bearer")
    await socket.leave()


async def test_a_ticket(open_socket, ada):
    ticket = await issue_ticket(ada.user)
    socket = await open_socket(APPLICATION, f"/?ticket={ticket}")
    assert await socket.ask("who") == ["ada", None]
    assert await ends_with(path=f"/?ticket={ticket}") == 1008


async def test_of_two_sockets_with_one_ticket_one_is_let_in(ada):
    async def try_it(ticket):
        socket = Socket(APPLICATION, f"/?ticket={ticket}")
        accepted, _ = await socket.connect(timeout=DEADLINE_S)
        if accepted:
            await socket.leave()
        await socket.wait(DEADLINE_S)
        return accepted

    for _ in range(10):
        ticket = await issue_ticket(ada.user)
        assert sorted(await asyncio.gather(try_it(ticket), try_it(ticket))) == [False, True]
    assert not await Ticket.objects.aexists()


# --- beside sessions --------------------------------------------------------------------------


STACKS = {
    "inside": AuthMiddlewareStack(TokenAuthMiddleware(Who.as_asgi())),
    "outside": TokenAuthMiddleware(AuthMiddlewareStack(Who.as_asgi())),
    "apart": TokenAuthMiddleware(Who.as_asgi(), otherwise=AuthMiddlewareStack(Who.as_asgi())),
}
stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


@stacks
async def test_without_a_token_the_session_s_user_is_kept(open_socket, stack):
    socket = await open_socket(stack, headers=await signed_in())
    assert await socket.ask("who") == ["ann", None]


@stacks
async def test_with_a_token_the_session_does_not_count(open_socket, ada, stack):
    headers = [*await signed_in(), *bearer(ada.text)["headers"]]
    socket = await open_socket(stack, headers=headers)
    assert await socket.ask("who") == ["ada", "ada's"]


@stacks
async def test_with_a_bad_token_the_session_does_not_count(ada, stack):
    headers = [*await signed_in(), *bearer(ada.text + "x")["headers"]]
    assert await ends_with(stack, headers=headers) == 1008


@stacks
async def test_without_either_somebody_is_anonymous(open_socket, stack):
    socket = await open_socket(stack)
    assert await socket.ask("who") == ["", None]


# --- refusing ---------------------------------------------------------------------------------


async def test_tokens_that_are_not_valid_are_refused(ada):
    other = await person("bob")
    await other.token.arevoke()
    for text in (ada.text[:-1] + "-", "onl_x", "of-another-kind", other.text):
        assert await ends_with(**bearer(text)) == 1008
        assert await ends_with(**by_subprotocol("bearer", text)) == 1008
    assert await ends_with(path="/?ticket=onlt_" + "a" * 43) == 1008


async def test_a_valid_token_in_the_query_is_refused_and_not_logged(ada, caplog):
    assert await ends_with(path=f"/?token={ada.text}") == 1008
    assert "a token in its query" in caplog.text
    assert ada.text not in caplog.text
    assert ada.token.public_id not in caplog.text


async def test_failures_are_counted_with_those_of_requests(open_socket, ada):
    limited = {"extensions": {"websocket.http.response": {}}, **bearer("onl_x")}
    with override_settings(ONLOOP={"BEARER_MAX_FAILURES": 2}):
        assert await ends_with(**bearer("onl_x")) == 1008
        assert await ends_with(path="/?ticket=onlt_x") == 1008
        status, headers = await ends_with(**limited)
        assert status == 429
        assert 0 < int(headers[b"retry-after"]) <= 60
        # Where the server cannot say it in that way.
        assert await ends_with(**bearer("onl_x")) == 1008
        # And a valid token is let in all the same.
        socket = await open_socket(APPLICATION, **bearer(ada.text))
        assert await socket.ask("who") == ["ada", "ada's"]


async def test_failures_belong_to_an_address(ada):
    async def client(scope, receive, send):
        await APPLICATION({**scope, "client": ("192.0.2.9", 1)}, receive, send)

    extensions = {"websocket.http.response": {}}
    with override_settings(ONLOOP={"BEARER_MAX_FAILURES": 1}):
        assert await ends_with(**bearer("onl_x"), extensions=extensions) == 1008
        assert await ends_with(client, **bearer("onl_x"), extensions=extensions) == 1008
        assert (await ends_with(client, **bearer("onl_x"), extensions=extensions))[0] == 429


async def test_a_handshake_that_is_cancelled_leaves_nothing(ada):
    socket = Socket(APPLICATION, "/", **bearer(ada.text))
    await socket.send_input({"type": "websocket.connect"})
    for _ in range(3):
        await asyncio.sleep(0)
    await socket.cancel()
    assert await Token.objects.filter(revoked=None).aexists()


def test_the_app_must_be_installed():
    with (
        modify_settings(INSTALLED_APPS={"remove": "onloop.tokens"}),
        pytest.raises(ImproperlyConfigured, match=r"onloop\.tokens"),
    ):
        TokenAuthMiddleware(None)


async def test_what_is_no_socket_is_an_error_that_says_where_it_belongs():
    with pytest.raises(ValueError, match=r"for WebSockets, not for 'http'.*ProtocolTypeRouter"):
        await APPLICATION({"type": "http"}, None, None)


# --- the one-line stack -----------------------------------------------------------------------


async def test_the_stack_lets_a_token_in_without_an_origin(open_socket, ada, caplog):
    from django.urls import path

    stack = socket_stack([path("", Who.as_asgi())])
    with caplog.at_level(logging.ERROR):
        socket = await open_socket(stack, **bearer(ada.text))
        assert await socket.ask("who") == ["ada", "ada's"]
        assert await ends_with(stack) == 1008  # neither a token nor an origin
