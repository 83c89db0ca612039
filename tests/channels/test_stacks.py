"""Sessions and users of sockets, by Channels' middleware as it is written."""

from __future__ import annotations

import threading

import pytest
from channels.auth import AuthMiddlewareStack, get_user, login, logout
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import URLRouter
from channels.sessions import SessionMiddlewareStack
from channels.testing import HttpCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client, override_settings
from django.urls import path

import onloop
from onloop import bridge
from tests.channels.conftest import DEADLINE_S

CACHE = "django.contrib.sessions.backends.cache"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
DATABASE = "django.contrib.sessions.backends.db"
FILE = "django.contrib.sessions.backends.file"
COOKIES = "django.contrib.sessions.backends.signed_cookies"


class Me(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        scope = self.scope
        if content == "login":
            await login(scope, await User.objects.aget(username="ann"))
            await scope["session"].asave()
        elif content == "logout":
            await logout(scope)
        elif content == "again":
            scope["user"] = await get_user(scope)
        seen = scope["session"].get("seen", 0) + 1  # loads it where nobody has
        scope["session"]["seen"] = seen
        await self.send_json([scope["user"].username, seen, scope["url_route"]["kwargs"]])


class SyncMe(JsonWebsocketConsumer):
    def receive_json(self, content):
        session = self.scope["session"]
        session["seen"] = session.get("seen", 0) + 1
        session.save()
        self.send_json([self.scope["user"].username, session["seen"], onloop.where()])


def stack(consumer):
    return AuthMiddlewareStack(URLRouter([path("room/<int:number>/", consumer.as_asgi())]))


def cookie_of(client):
    return [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())]


async def signed_in(**settings):
    """The cookie of a user who has logged in as usual."""

    def sign_in():
        user = User.objects.create_user("ann")
        client = Client()
        client.force_login(user)
        return cookie_of(client)

    with override_settings(**settings):
        return await bridge.run(sign_in)


async def test_the_user_is_there_without_a_thread(open_socket, started_threads):
    headers = await signed_in()
    socket = await open_socket(stack(Me), "/room/7/", headers=headers)
    assert await socket.ask("who") == ["ann", 1, {"number": 7}]
    assert await socket.ask("who") == ["ann", 2, {"number": 7}]
    assert await socket.ask("again") == ["ann", 3, {"number": 7}]
    await socket.leave()
    assert started_threads == []


async def test_nobody_is_anonymous(open_socket, started_threads):
    socket = await open_socket(stack(Me), "/room/7/")
    assert await socket.ask("who") == ["", 1, {"number": 7}]
    assert started_threads == []


async def test_somebody_logs_in_and_out_on_a_socket(open_socket, started_threads):
    await signed_in()
    socket = await open_socket(stack(Me), "/room/7/")
    assert (await socket.ask("login"))[0] == "ann"
    assert (await socket.ask("again"))[0] == "ann"
    assert (await socket.ask("logout"))[0] == ""
    assert (await socket.ask("again"))[0] == ""
    assert started_threads == []


async def test_a_session_of_another_password_is_worth_nothing(open_socket):
    headers = await signed_in()
    await User.objects.aupdate(password="another")
    socket = await open_socket(stack(Me), "/room/7/", headers=headers)
    assert (await socket.ask("who"))[0] == ""


async def test_a_sync_consumer_has_its_user_in_its_thread(open_socket):
    headers = await signed_in()
    socket = await open_socket(stack(SyncMe), "/room/7/", headers=headers)
    assert await socket.ask("who") == ["ann", 1, "thread"]
    assert await socket.ask("who") == ["ann", 2, "thread"]


@pytest.fixture
def places(monkeypatch):
    """Where sessions are read and saved: on the test's own thread, or on another."""
    seen = []
    main = threading.current_thread()

    def noting(method):
        def call(self, *args, **kwargs):
            seen.append("loop" if threading.current_thread() is main else "thread")
            return method(self, *args, **kwargs)

        return call

    for engine in (CACHE, CACHED_DB, DATABASE, FILE, COOKIES):
        store = __import__(engine, fromlist=["SessionStore"]).SessionStore
        for name in ("load", "save"):
            monkeypatch.setattr(store, name, noting(vars(store)[name]))
    return seen


@pytest.mark.parametrize(
    ("engine", "place"),
    [
        (DATABASE, "loop"),
        (COOKIES, "loop"),
        (CACHE, "loop"),
        (CACHED_DB, "loop"),
        (FILE, "thread"),
    ],
)
async def test_a_session_that_blocks_is_read_in_a_thread(
    open_socket, places, tmp_path, engine, place
):
    chosen = {"SESSION_ENGINE": engine, "SESSION_FILE_PATH": str(tmp_path)}
    headers = await signed_in(**chosen)
    places.clear()
    with override_settings(**chosen):
        socket = await open_socket(stack(Me), "/room/7/", headers=headers)
        assert await socket.ask("who") == ["ann", 1, {"number": 7}]
        await socket.leave()
    assert set(places) == {place}
    cache.clear()


class SavesSession(AsyncHttpConsumer):
    async def handle(self, body):
        session = self.scope["session"]
        session["seen"] = 1
        if body == b"by hand":
            await database_sync_to_async(session.save)()
        await self.send_response(200, b"saved")


@pytest.mark.parametrize(
    ("engine", "place"), [(DATABASE, "loop"), (CACHE, "loop"), (FILE, "thread")]
)
async def test_a_session_is_saved_where_it_is_read(db_clean, places, engine, place):
    with override_settings(SESSION_ENGINE=engine):
        application = SessionMiddlewareStack(SavesSession.as_asgi())
        client = HttpCommunicator(application, "POST", "/", b"by hand")
        response = await client.get_response(timeout=DEADLINE_S)
        await client.wait(DEADLINE_S)
    assert response["body"] == b"saved"
    assert places[0] == place  # by hand; `asave` of files is Django's, and on the loop
    cache.clear()


async def test_middleware_saves_a_session_without_a_thread(db_clean, started_threads):
    client = HttpCommunicator(SessionMiddlewareStack(SavesSession.as_asgi()), "GET", "/")
    response = await client.get_response(timeout=DEADLINE_S)
    await client.wait(DEADLINE_S)
    (cookie,) = [value for name, value in response["headers"] if name == b"Set-Cookie"]
    key = cookie.decode().partition("=")[2].partition(";")[0]
    session = await Session.objects.aget(pk=key)
    assert session.get_decoded() == {"seen": 1}
    assert started_threads == []


async def test_a_session_that_is_none_of_django_s_is_left_alone(db_clean, started_threads):
    class Plain(dict):
        def flush(self):
            self.clear()

    assert not issubclass(Plain, SessionBase)
    user = await get_user({"session": Plain()})
    assert user.is_anonymous
    assert started_threads == []
