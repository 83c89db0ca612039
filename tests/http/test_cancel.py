"""Cancelled at each wait, once and twice: nothing is left, and no place is lost."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge, http
from onloop.http import clients, sync
from onloop.testing import LeakLedger, cancel_sweep
from tests.db.eventually import eventually

pytestmark = pytest.mark.usefixtures("closing", "configure")


def gate():
    return http.client()._transport.inner._gate


@pytest.fixture
def nothing_left(upstream):
    """Places are free, the connection pool of httpcore is empty of requests, all is served."""

    async def check(outcome=None):
        assert (gate().under_way, gate().waiting) == (0, 0)
        pool = http.client()._transport.inner.inner._pool
        assert pool._requests == []
        await eventually(lambda: upstream.under_way == 0)
        response = await http.client().get(f"{upstream.url}/ok")
        assert response.text == "ok"

    return check


@pytest.fixture
def one_place(configure):
    configure(MAX_CONNECTIONS=1, CIRCUIT_FAILURES=1)


async def test_a_request(upstream, one_place, nothing_left):
    async def scenario():
        return await http.client().get(f"{upstream.url}/ok")

    sweep = await cancel_sweep(scenario, check=nothing_left)
    assert sweep.waits >= 3


async def test_a_request_on_a_fresh_connection(upstream, one_place, nothing_left):
    async def scenario():
        return await http.client().get(f"{upstream.url}/ok")

    await cancel_sweep(scenario, check=nothing_left, prepare=http.aclose)


async def test_a_stream_that_is_left_early(upstream, one_place, nothing_left):
    async def scenario():
        async with http.client().stream("GET", f"{upstream.url}/endless") as response:
            async for _ in response.aiter_bytes():
                break

    await cancel_sweep(scenario, check=nothing_left)


async def test_a_wait_between_attempts(upstream, configure, nothing_left):
    configure(MAX_CONNECTIONS=1, CIRCUIT_FAILURES=0, BACKOFF=0.001)

    async def scenario():
        return await http.client().get(f"{upstream.url}/status/503")

    sweep = await cancel_sweep(scenario, check=nothing_left)
    assert sweep.waits >= 8


async def test_a_wait_for_a_place(upstream, one_place, nothing_left):
    async def scenario():
        held = asyncio.create_task(http.client().get(f"{upstream.url}/large/100000"))
        try:
            await asyncio.sleep(0)
            return await http.client().get(f"{upstream.url}/ok")
        finally:
            await asyncio.wait({held})

    async def check(outcome):
        await eventually(lambda: gate().under_way == 0)
        await nothing_left()

    # Twice would leave the other request, by this scenario's own doing.
    await cancel_sweep(scenario, check=check)


async def test_another_host_whose_idle_connection_is_closed_first(
    upstream, one_place, nothing_left
):
    elsewhere = upstream.url.replace("127.0.0.1", "localhost")

    async def scenario():
        return await http.client().get(f"{elsewhere}/ok")

    async def check(outcome):
        await nothing_left()
        assert len(http.client()._transport.inner.inner._pool.connections) == 1

    await cancel_sweep(scenario, check=check)
    await http.aclose()
    await eventually(lambda: upstream.connections == 0)


async def test_a_fan_out(upstream, configure, nothing_left):
    configure(MAX_CONNECTIONS=2)

    async def scenario():
        return await http.fan_out([f"{upstream.url}/ok"] * 4, at_once=3, deadline=10)

    before = asyncio.all_tasks()

    async def check(outcome):
        await nothing_left()
        assert asyncio.all_tasks() == before

    await cancel_sweep(scenario, check=check)


async def test_the_public_client(upstream, configure):
    configure(
        MAX_CONNECTIONS=1, PUBLIC_PORTS=[upstream.port], PUBLIC_ALLOW=["127.0.0.0/8", "::1/128"]
    )
    url = upstream.url.replace("127.0.0.1", "localhost")

    async def scenario():
        return await http.public_client().get(f"{url}/redirect?to=/ok", follow_redirects=True)

    async def check(outcome):
        assert http.public_client()._transport.inner._gate.under_way == 0
        assert (await http.public_client().get(f"{url}/ok")).text == "ok"

    await cancel_sweep(scenario, check=check)
    await cancel_sweep(scenario, check=check, prepare=http.aclose)


async def test_plain_calls_in_a_bridge(upstream, one_place, nothing_left):
    def work():
        with sync.stream("GET", f"{upstream.url}/ok") as response:
            return response.read()

    await cancel_sweep(lambda: bridge.run(work), check=nothing_left)


async def test_the_end_of_all_clients(upstream):
    async def open_two():
        await http.client().get(f"{upstream.url}/ok")
        clients.public_client()

    async def check(outcome):
        await eventually(lambda: upstream.connections == 0)

    await cancel_sweep(http.aclose, prepare=open_two, check=check)


async def test_a_coroutine_that_is_closed_leaves_nothing(upstream, one_place, nothing_left):
    for steps in range(1, 4):
        request = http.client().get(f"{upstream.url}/ok")
        for _ in range(steps):
            try:
                future = request.send(None)
            except StopIteration:
                break
            await asyncio.wait({future})
        request.close()
        await eventually(lambda: gate().under_way == 0)
        await eventually(lambda: not http.client()._transport.inner.inner._pool._requests)
    await nothing_left()


async def test_the_ledger_is_clean(upstream, configure, tmp_path):
    configure(MAX_CONNECTIONS=2, RETRIES=1)
    await http.client().get(f"{upstream.url}/ok")  # uvloop opens /dev/null once
    await http.aclose()
    async with LeakLedger(temp_folder=tmp_path):
        for path in ("ok", "drop", "cut", "status/503", "redirect?to=/ok"):
            await http.fan_out([f"{upstream.url}/{path}"] * 5)
        await http.fan_out([f"{upstream.url}/hang"] * 5, deadline=0.05)
        await http.aclose()
