"""Loops that end while sockets are in rooms, in a process that goes on."""

from __future__ import annotations

import asyncio

import pytest

from onloop import rooms
from onloop.rooms import hub as hubs
from onloop.rooms.local import Member
from tests.rooms.conftest import IN_MEMORY, LONG

pytestmark = pytest.mark.usefixtures("db_clean")


async def sit(*names: str) -> None:
    for name in names:
        await hubs.hub().join(Member(name, None, capacity=10))


async def tell(times: int) -> None:
    for _ in range(times):
        await rooms.aannounce("lobby", "rain")


def test_a_loop_that_ends_with_sockets_leaves_its_groups(set_up, caplog):
    layer = set_up(IN_MEMORY, LONG)
    asyncio.run(sit("lobby", "garden"))
    assert not layer.groups
    assert not hubs._hubs
    asyncio.run(tell(layer.capacity + 1))
    assert layer.stats() == {"dropped": 0}
    assert "is full" not in caplog.text
