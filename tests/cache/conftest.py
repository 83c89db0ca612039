"""Caches on a real Redis: `default` is Onloop's, `django` Django's own on the same server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.redis import RedisCacheClient
from django.test import override_settings

from onloop.cache import clients
from onloop.testing import FaultProxy
from tests.asgi.conftest import project, started_threads  # noqa: F401 - fixtures
from tests.loops import until
from tests.redis import RedisServer

BACKEND = "onloop.cache.RedisCache"
DJANGOS = "django.core.cache.backends.redis.RedisCache"
# However busy the machine is; what is tested never depends on it.
DEADLINE_S = 90


def settings(location: str | list[str], **others: Any) -> dict[str, Any]:
    """CACHES with both; `others` such as `OPTIONS` hold for both."""
    common = {"LOCATION": location, **others}
    return {
        "default": {"BACKEND": BACKEND, **common},
        "django": {"BACKEND": DJANGOS, **common},
    }


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """The run's Redis, empty and without a client; started anew if a test has stopped it."""
    if not _redis.running:
        _redis.start()
    told(_redis.port, "FLUSHALL")
    told(_redis.port, "CLIENT", "KILL", "TYPE", "normal")
    return _redis


@pytest.fixture(autouse=True)
def closed_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what Django's client leaves to the collector, whichever cache has used it."""
    made = []
    make = RedisCacheClient.__init__

    def noting(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(RedisCacheClient, "__init__", noting)
    yield
    for each in made:
        for pool in each._pools.values():
            pool.disconnect()


@pytest.fixture
def configure() -> Iterator[Callable[..., Any]]:
    """`configure(url, OPTIONS={...})`: the `default` cache of these settings."""
    overrides: list[override_settings] = []

    def enter(location: str | list[str], **others: Any) -> Any:
        override = override_settings(CACHES=settings(location, **others))
        override.enable()
        overrides.append(override)
        return caches["default"]

    yield enter
    for override in reversed(overrides):
        override.disable()


@pytest.fixture
def cache(redis_server: RedisServer, configure: Callable[..., Any]) -> Any:
    """Onloop's cache, empty."""
    return configure(redis_server.url)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """A network in front of Redis that fails on demand."""
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        yield proxy


def client() -> clients.Client:
    """The only client of the running loop."""
    (found,) = clients._of_loop._made[asyncio.get_running_loop()].values()
    return found


def lanes() -> list[Any]:
    return client().open_lanes()


async def in_time(awaitable: Awaitable[Any]) -> Any:
    """Await, with a deadline that only something that hangs runs into."""
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


async def all_answered() -> None:
    """Wait until Redis has answered everything that was asked of it."""
    await in_time(until(lambda: all(lane.load == 0 for lane in lanes())))


def told(port: int, *words: str) -> bytes:
    """What Redis answers to a command, over a connection that has nothing to do with caches."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as it:
        it.sendall((" ".join(words) + "\r\n").encode())
        return it.recv(65536)
