"""The session of aiohttp: the same limits, closed alike."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from onloop import http, perloop
from onloop.errors import LoopRequired
from onloop.http.aiohttp import TooManyWaiters, session
from onloop.testing import LeakLedger, cancel_sweep
from tests.db.eventually import eventually

pytestmark = pytest.mark.usefixtures("closing", "configure")


async def get(url):
    async with session().get(url) as response:
        return await response.text()


async def test_connections_are_used_again_and_closed_with_all_others(upstream):
    assert [await get(f"{upstream.url}/ok") for _ in range(3)] == ["ok"] * 3
    assert upstream.accepted == 1
    await http.aclose()
    await eventually(lambda: upstream.connections == 0)
    assert await get(f"{upstream.url}/ok") == "ok"


async def test_one_that_somebody_closed_is_replaced(upstream):
    async with session() as before:
        assert before is session()
    assert session() is not before
    assert await get(f"{upstream.url}/ok") == "ok"


async def test_those_that_were_closed_are_forgotten(upstream):
    """`async with session()` closes it: each request might."""
    for _ in range(5):
        async with session():
            assert await get(f"{upstream.url}/ok") == "ok"
    kept = [thing for thing, _ in perloop._open[asyncio.get_running_loop()].values()]
    assert len([each for each in kept if isinstance(each, aiohttp.ClientSession)]) == 1


async def test_its_limits_are_those_of_the_settings(upstream, configure):
    configure(MAX_CONNECTIONS=2, MAX_WAITING=1, POOL_TIMEOUT=10)
    tasks = [asyncio.create_task(get(f"{upstream.url}/hold")) for _ in range(3)]
    await eventually(lambda: upstream.under_way == 2)
    fourth = [asyncio.create_task(get(f"{upstream.url}/hold")) for _ in range(3)]
    done, _ = await asyncio.wait(fourth, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(TooManyWaiters, match="MAX_WAITING"):
        await done.pop()
    upstream.release()
    results = await asyncio.gather(*tasks, *fourth, return_exceptions=True)
    assert results[:3] == ["held"] * 3
    assert upstream.most_at_once == 2


@pytest.mark.parametrize("waiting", [0, 3])
async def test_no_more_wait_than_the_settings_say(upstream, configure, waiting):
    configure(MAX_CONNECTIONS=4, MAX_PER_HOST=2, MAX_WAITING=waiting)
    held = [asyncio.create_task(get(f"{upstream.url}/hold")) for _ in range(2 + waiting)]
    await eventually(lambda: upstream.under_way == 2)
    with pytest.raises(TooManyWaiters, match=rf"{waiting} requests wait"):
        await get(f"{upstream.url}/hold")
    upstream.release()
    assert await asyncio.gather(*held) == ["held"] * len(held)


async def test_its_timeouts_are_those_of_the_settings(upstream, configure):
    configure(DEADLINE=0.1)
    with pytest.raises(TimeoutError):
        await get(f"{upstream.url}/trickle")
    configure(READ_TIMEOUT=0.05)
    with pytest.raises(aiohttp.SocketTimeoutError):
        await get(f"{upstream.url}/hang")


async def test_it_keeps_no_cookies(upstream):
    await get(f"{upstream.url}/cookie")
    assert "of-one" not in await get(f"{upstream.url}/echo")


async def test_cancelled_at_each_wait(upstream, configure):
    configure(MAX_CONNECTIONS=1)

    async def check(outcome):
        assert await get(f"{upstream.url}/ok") == "ok"

    await cancel_sweep(lambda: get(f"{upstream.url}/ok"), check=check)


async def test_the_ledger_is_clean(upstream, tmp_path):
    await get(f"{upstream.url}/ok")  # uvloop opens /dev/null once
    await http.aclose()
    async with LeakLedger(temp_folder=tmp_path):
        await get(f"{upstream.url}/ok")
        await http.aclose()


def test_without_a_loop_the_error_names_the_cure():
    with pytest.raises(LoopRequired, match=r"aiohttp.session\(\) belongs to an event loop"):
        session()
