"""How many requests are under way, and who waits for that."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from onloop import http
from onloop.http.gate import Gate
from tests.db.eventually import eventually

pytestmark = pytest.mark.usefixtures("closing", "configure")


async def ended(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


def ask(url, count):
    return [asyncio.create_task(http.client().get(url)) for _ in range(count)]


async def test_requests_are_under_way_at_once(upstream):
    tasks = ask(f"{upstream.url}/hold", 10)
    await eventually(lambda: upstream.under_way == 10)
    upstream.release()
    assert [response.text for response in await ended(tasks)] == ["held"] * 10


async def test_no_more_than_allowed_are_under_way(upstream, configure):
    configure(MAX_CONNECTIONS=3)
    tasks = ask(f"{upstream.url}/hold", 9)
    await eventually(lambda: upstream.under_way == 3)
    upstream.release()
    assert [response.text for response in await ended(tasks)] == ["held"] * 9
    assert (upstream.most_at_once, upstream.accepted) == (3, 3)


async def test_a_crowded_host_does_not_hold_up_others(upstream, configure):
    configure(MAX_PER_HOST=2)
    tasks = ask(f"{upstream.url}/hold", 5)
    await eventually(lambda: upstream.under_way == 2)
    elsewhere = upstream.url.replace("127.0.0.1", "localhost")
    assert (await http.client().get(f"{elsewhere}/ok")).text == "ok"
    upstream.release()
    await ended(tasks)
    assert [seen.headers["host"] for seen in upstream.requests if seen.path == "/hold"]
    assert upstream.most_at_once == 3


async def test_too_many_that_wait_are_refused_at_once(upstream, configure):
    configure(MAX_CONNECTIONS=1, MAX_WAITING=2)
    tasks = ask(f"{upstream.url}/hold", 3)
    await eventually(lambda: upstream.under_way == 1)
    with pytest.raises(http.TooManyWaiters, match=r"1 are under way.*2 wait.*MAX_WAITING"):
        await http.client().get(f"{upstream.url}/ok")
    upstream.release()
    assert [response.text for response in await ended(tasks)] == ["held"] * 3


async def test_who_waits_too_long_is_told_for_what(upstream, configure):
    configure(MAX_CONNECTIONS=1, POOL_TIMEOUT=0.05)
    tasks = ask(f"{upstream.url}/hold", 1)
    await eventually(lambda: upstream.under_way == 1)
    with pytest.raises(httpx.PoolTimeout, match=r"within 0.05 s: 1 are under way"):
        await http.client().get(f"{upstream.url}/ok")
    upstream.release()
    await ended(tasks)
    assert upstream.paths() == ["/hold"]


async def test_the_deadline_holds_while_waiting_for_a_place(upstream, configure):
    configure(MAX_CONNECTIONS=1)
    tasks = ask(f"{upstream.url}/hold", 1)
    await eventually(lambda: upstream.under_way == 1)
    with pytest.raises(http.DeadlineExceeded, match="No place for a request"):
        await http.client().get(f"{upstream.url}/ok", extensions=http.options(deadline_s=0.05))
    upstream.release()
    await ended(tasks)


async def test_a_place_is_kept_until_the_body_is_closed(upstream, configure):
    configure(MAX_CONNECTIONS=1, POOL_TIMEOUT=0.05)
    async with http.client().stream("GET", f"{upstream.url}/ok") as response:
        with pytest.raises(httpx.PoolTimeout):
            await http.client().get(f"{upstream.url}/ok")
        await response.aread()
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


@pytest.mark.parametrize("path", ["drop", "cut", "stuck", "hang"])
async def test_no_failure_costs_a_place(upstream, configure, path):
    configure(MAX_CONNECTIONS=1, RETRIES=0, CIRCUIT_FAILURES=0)
    short = httpx.Timeout(5, read=0.02)
    for _ in range(3):
        with pytest.raises(httpx.TransportError):
            await http.client().get(f"{upstream.url}/{path}", timeout=short)
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


# --- the gate by itself ---------------------------------------------------------------------


async def test_places_are_given_in_the_order_of_asking():
    gate, order = Gate(1, 1, 10), []

    async def pass_through(name):
        await gate.enter("a", None)
        order.append(name)
        await asyncio.sleep(0)
        gate.leave("a")

    async with asyncio.TaskGroup() as group:
        for name in range(5):
            group.create_task(pass_through(name))
    assert (order, gate.under_way, gate.waiting) == ([0, 1, 2, 3, 4], 0, 0)


async def test_one_that_leaves_lets_in_whoever_may_go():
    gate = Gate(2, 1, 10)
    await gate.enter("a", None)
    await gate.enter("b", None)
    first = asyncio.create_task(gate.enter("a", None))
    second = asyncio.create_task(gate.enter("c", None))
    await asyncio.sleep(0)
    gate.leave("b")  # "a" is crowded still, so the next in line may not go
    await second
    assert not first.done()
    gate.leave("a")
    await first
    assert gate.under_way == 2


async def test_one_that_is_cancelled_already_is_passed_over():
    gate = Gate(1, 1, 10)
    await gate.enter("a", None)
    first, second = (asyncio.create_task(gate.enter("a", None)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()  # it stands in line still
    gate.leave("a")
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert (gate.under_way, gate.waiting) == (1, 0)


async def test_a_place_that_is_given_to_one_who_is_cancelled_is_given_on():
    gate = Gate(1, 1, 10)
    await gate.enter("a", None)
    first, second = (asyncio.create_task(gate.enter("a", None)) for _ in range(2))
    await asyncio.sleep(0)
    gate.leave("a")  # given to the first, who has not been told yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    gate.leave("a")
    assert (gate.under_way, gate.waiting) == (0, 0)
