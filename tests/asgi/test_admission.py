"""So many requests at once, so many that wait, and 503 for the others."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from onloop.asgi.admission import Admission
from onloop.testing import cancel_sweep
from tests.asgi.client import DEADLINE_S, all_of
from tests.loops import steps

inside: list[asyncio.Event] = []
most = 0


@pytest.fixture(autouse=True)
def _fresh():
    global most  # noqa: PLW0603 - views are functions of the module
    most = 0
    inside.clear()


async def waits(request):
    global most  # noqa: PLW0603 - views are functions of the module
    event = asyncio.Event()
    inside.append(event)
    most = max(most, len(inside))
    try:
        await event.wait()
    finally:
        inside.remove(event)
    return HttpResponse("served")


async def streams(request):
    async def parts():
        yield b"begun"
        await waits(request)

    return StreamingHttpResponse(parts())


async def raises(request):
    raise ZeroDivisionError


urlpatterns = [path("waits/", waits), path("streams/", streams), path("raises/", raises)]


@pytest.fixture
def admitted(project):
    """`admitted(2, queue=1)`: the project with these limits, without middleware."""

    def configure(count, *, queue=100, timeout=60):
        project.configure(
            MIDDLEWARE=[],
            ONLOOP={"MAX_REQUESTS": count, "MAX_QUEUE": queue, "QUEUE_TIMEOUT": timeout},
        )
        return project

    return configure


async def until(count):
    async with asyncio.timeout(DEADLINE_S):
        while len(inside) != count:
            await asyncio.sleep(0)


async def let_go():
    """Let all go on, one by one, those too who come in meanwhile."""
    await steps()
    while inside:
        inside[0].set()
        await steps()


async def test_no_more_than_the_limit_are_served_at_once(admitted):
    project = admitted(3)
    exchanges = [project.get("/waits/").start() for _ in range(20)]
    await until(3)
    await let_go()
    for exchange in exchanges:
        await exchange
    assert [exchange.text for exchange in exchanges] == ["served"] * 20
    assert most == 3


async def test_who_waits_is_served_in_order(admitted):
    project = admitted(1)
    exchanges = [project.get("/waits/").start() for _ in range(4)]
    for number in range(4):
        await until(1)
        inside[0].set()
        await exchanges[number]
        assert [exchange.task.done() for exchange in exchanges].count(True) == number + 1


async def test_beyond_the_queue_is_503_at_once(admitted, caplog):
    project = admitted(1, queue=2)
    exchanges = [project.get("/waits/").start() for _ in range(3)]
    await until(1)
    await steps()
    for _ in range(5):
        refused = await project.get("/waits/")
        assert (refused.status, refused.headers("retry-after")) == (503, ["1"])
    await let_go()
    for exchange in exchanges:
        assert (await exchange).status == 200
    records = [record for record in caplog.records if record.name == "onloop.asgi"]
    assert len(records) == 1  # one line for many
    assert "ONLOOP['MAX_REQUESTS']" in records[0].getMessage()


async def test_without_a_queue_nobody_waits(admitted):
    project = admitted(1, queue=0)
    exchange = project.get("/waits/").start()
    await until(1)
    assert (await project.get("/waits/")).status == 503
    await let_go()
    assert (await exchange).status == 200


async def test_who_waits_too_long_is_503(admitted):
    project = admitted(1, timeout=0.05)
    exchange = project.get("/waits/").start()
    await until(1)
    assert (await project.get("/waits/")).status == 503
    await let_go()
    assert (await exchange).status == 200


async def test_a_client_that_leaves_the_queue_takes_no_slot_with_it(admitted):
    project = admitted(1)
    exchange, leaves, stays = (project.get("/waits/").start() for _ in range(3))
    await until(1)
    leaves.leave()
    await leaves
    assert leaves.messages == []
    await let_go()
    assert (await stays).text == (await exchange).text == "served"


async def test_a_view_that_fails_gives_its_slot_back(admitted):
    project = admitted(1)
    answers = await all_of(project.get("/raises/") for _ in range(5))
    assert [answer.status for answer in answers] == [500] * 5


async def test_a_stream_keeps_no_slot(admitted):
    project = admitted(1, queue=0)
    stream = project.get("/streams/").start()
    await stream.until_parts(1)
    await until(1)
    other = project.get("/waits/").start()
    await until(2)
    await let_go()
    assert (await other).text == "served"
    assert (await stream).text == "begun"


async def test_no_slot_is_lost_wherever_a_request_is_cancelled(admitted):
    project = admitted(1)

    async def scenario():
        holder = project.get("/waits/").start()
        await until(1)
        goes = asyncio.create_task(let_go())
        try:
            await project.get("/waits/")._serve()
        finally:
            await goes
            await holder

    async def nothing_is_lost(outcome):
        await let_go()
        after = project.get("/waits/").start()
        await until(1)
        inside[0].set()
        assert (await after).text == "served"

    await cancel_sweep(scenario, check=nothing_is_lost, times=(1,))


async def test_a_slot_that_is_given_to_someone_cancelled_goes_on(admitted):
    """The hand-over and the cancellation come in one step of the loop."""
    from onloop import bridge

    admitted(1)
    admission = Admission()
    await bridge.run(admission.enter)
    first, second = (asyncio.create_task(bridge.run(admission.enter)) for _ in range(2))
    await steps()
    admission.leave()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    admission.leave()
    await bridge.run(admission.enter)


async def test_the_numbers_can_be_read_in_another_thread_while_the_queue_changes():
    admission, loop = Admission(), asyncio.get_running_loop()
    admission._waiting.extend(loop.create_future() for _ in range(500))

    def read():
        return {admission.stats()["waiting"] for _ in range(300)}

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read)
            while not reading.done():
                admission._waiting.append(loop.create_future())
                admission._waiting.popleft()
    finally:
        sys.setswitchinterval(before)
    assert reading.result() <= {500, 501}
