"""At shutdown pools are closed once what is out has come back, or when that takes too long."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.db import connection, connections, transaction

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.testing import ForcedWindow
from tests.project.library.models import Author

from .helpers import anames

pytestmark = pytest.mark.usefixtures("db_clean")


async def test_a_drained_pool_waits_for_connections_that_are_out() -> None:
    loop = asyncio.get_running_loop()
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with onloop.scope(), transaction.atomic():
            await Author.objects.acreate(name="Ann")
            inside.set()
            await go_on.wait()
            await Author.objects.acreate(name="Bob")

    task = asyncio.create_task(work())
    await inside.wait()
    (pool,) = pools.pools_of(loop)
    draining = asyncio.create_task(bridge.run(pools.drain_pools, loop))
    await asyncio.sleep(0)
    assert not pool.closed
    go_on.set()
    await draining
    await task
    assert pool.closed
    assert pool.stats()["pool_size"] == 0
    assert await anames() == ["Ann", "Bob"]


async def test_a_shutdown_does_not_wait_for_ever_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pools, "DRAIN_S", 0.02)
    loop = asyncio.get_running_loop()
    await bridge.run(connection.ensure_connection)
    (pool,) = pools.pools_of(loop)
    with caplog.at_level(logging.WARNING, "onloop.db"):
        await bridge.run(pools.drain_pools, loop)
    assert "closed while 1 of its connections are in use" in caplog.text
    await bridge.run(connections["default"].close)
    assert pool.stats()["pool_size"] == 0


def hold_both() -> None:
    for alias in ("default", "other"):
        connections[alias].ensure_connection()


def let_go_of_both() -> None:
    for alias in ("default", "other"):
        connections[alias].close()


async def test_a_shutdown_waits_for_all_pools_together(
    monkeypatch: pytest.MonkeyPatch, forced_window: ForcedWindow
) -> None:
    monkeypatch.setattr(pools, "DRAIN_S", 0.05)
    given: list[float] = []
    await bridge.run(hold_both)
    async with forced_window.at(
        "onloop.db.pool.Pool.drain", before=True, only=lambda _, s: given.append(s)
    ):
        await bridge.run(pools.drain_pools, asyncio.get_running_loop())
    first, second = given
    # The first has taken all the time there was, but for the millisecond that uvloop's timers
    # may be early.
    assert second < 0.002 < first
    await bridge.run(let_go_of_both)


async def test_a_shutdown_that_is_cancelled_closes_the_pools(
    forced_window: ForcedWindow,
) -> None:
    loop = asyncio.get_running_loop()
    await bridge.run(hold_both)
    held = pools.pools_of(loop)
    async with forced_window.at("onloop.db.pool.Pool.drain", before=True) as window:
        draining = asyncio.create_task(bridge.run(pools.drain_pools, loop))
        await window.reached()
        draining.cancel()
        window.release()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert [pool.closed for pool in held] == [True, True]
    await bridge.run(let_go_of_both)
    assert [pool.stats()["pool_size"] for pool in held] == [0, 0]
