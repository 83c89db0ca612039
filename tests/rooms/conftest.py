"""Rooms in process: sockets by Channels' communicators, a hub that beats quickly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.channels.conftest import (  # noqa: F401 - fixtures
    Open,
    borrowed,
    extra_alias,
    open_socket,
)
from tests.rooms.visitors import Visitor

IN_MEMORY = {"BACKEND": "onloop.channels.layers.InMemoryChannelLayer"}
# Seconds. Never what a test is decided by: long, where a heartbeat must not help.
LONG, SHORT = 3600, 0.2


@pytest.fixture
async def visit(open_socket: Open, set_up):  # noqa: F811
    """`await visit("lobby", who="ada", after=3)`: a `Visitor` that has joined."""
    from channels.layers import channel_layers

    from tests.rooms.visitors import application

    visitors: list[Visitor] = []

    async def visit_(room: str, *, app: Any = None, **query: Any) -> Visitor:
        text = "&".join(f"{key}={value}" for key, value in query.items())
        socket = await open_socket(app or application(), f"/rooms/{room}/?{text}")
        visitors.append(Visitor(socket))
        await visitors[-1].next_of("history")
        return visitors[-1]

    yield visit_
    for visitor in visitors:
        if not visitor.socket.future.done():
            await visitor.socket.leave()
    await close_layer(channel_layers["default"])


async def close_layer(layer: Any) -> None:
    """Close what a layer keeps open on this loop, as the loop's own end would."""
    if hasattr(layer, "close_pools"):
        await layer.close_pools()
    elif hasattr(layer, "deserialize"):
        await layer.flush()


@pytest.fixture
def set_up():
    """`set_up(layer, beat_s=...)`: the channel layer and the heartbeat of a test."""
    from channels.layers import channel_layers
    from django.test import override_settings

    stack = []

    def configure(layer: dict[str, Any], beat_s: float = LONG, **onloop: Any) -> Any:
        settings = override_settings(
            CHANNEL_LAYERS={"default": layer}, ONLOOP={"ROOMS_HEARTBEAT": beat_s, **onloop}
        )
        settings.enable()
        stack.append(settings)
        return channel_layers["default"]

    yield configure
    for settings in reversed(stack):
        settings.disable()


@pytest.fixture(params=["memory", "RedisChannelLayer", "RedisPubSubChannelLayer"])
def layer(request: pytest.FixtureRequest, set_up):
    """Each layer in turn, with a heartbeat that does not come."""
    if request.param == "memory":
        return set_up(IN_MEMORY)
    return set_up(request.getfixturevalue("redis_server").layer(request.param))
