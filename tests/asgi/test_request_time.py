"""Time for a request: until its response begins."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

import onloop
from tests.asgi.client import DEADLINE_S
from tests.loops import steps
from tests.project.library.models import Author

# On a busy machine a short time may be over before the view is entered.
TIMES_S = 0.05, 3, 40

seen: list[object] = []
released = threading.Event()


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()
    released.clear()
    yield
    released.set()


async def waits(request):
    seen.append("entered")
    try:
        await asyncio.Event().wait()
    finally:
        seen.append("ended")


async def swallows(request):
    seen.append("entered")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return HttpResponse("in the end")


@onloop.limits(request_timeout=0)
async def may_take_its_time(request):
    await asyncio.sleep(0.3)
    return HttpResponse("late")


@onloop.limits(request_timeout=0.05)
async def must_be_quick(request):
    await waits(request)


def waits_in_thread(request):
    seen.append("entered")
    released.wait(DEADLINE_S)
    seen.append(Author.objects.count())
    return HttpResponse()


async def streams(request):
    async def parts():
        for number in range(3):
            yield b"%d" % number
            await asyncio.sleep(0.15)

    return StreamingHttpResponse(parts())


async def works_then_waits(request):
    await Author.objects.acreate(name="kept")
    await waits(request)


urlpatterns = [
    path("waits/", waits),
    path("swallows/", swallows),
    path("may-take-its-time/", may_take_its_time),
    path("must-be-quick/", must_be_quick),
    path("waits-in-thread/", waits_in_thread),
    path("streams/", streams),
    path("works-then-waits/", works_then_waits),
]


@pytest.mark.parametrize("path", ["waits", "must-be-quick"])
async def test_a_request_that_takes_too_long_is_cancelled_and_503(limited, caplog, path):
    project = limited(REQUEST_TIMEOUT=0.05 if path == "waits" else 60)
    for _ in range(20):  # on a busy machine the time is over before the view is entered
        caplog.clear()
        answer = await project.get(f"/{path}/")
        if seen:
            break
    assert (answer.status, answer.text) == (503, "Service Unavailable")
    assert answer.headers("retry-after") == ["1"]
    assert seen == ["entered", "ended"]
    (record,) = [record for record in caplog.records if record.name == "onloop.asgi"]
    assert record.levelno == logging.ERROR
    assert f"GET /{path}/ was not answered within 0.05 s" in record.getMessage()
    assert answer.cancelling_afterwards == 0


async def test_a_view_that_answers_all_the_same_is_heard(limited):
    for timeout_s in TIMES_S:
        answer = await limited(REQUEST_TIMEOUT=timeout_s).get("/swallows/")
        if seen:
            break
    assert (answer.status, answer.text) == (200, "in the end")
    assert answer.cancelling_afterwards == 0


async def test_a_view_may_take_its_time(limited):
    answer = await limited(REQUEST_TIMEOUT=0.05).get("/may-take-its-time/")
    assert answer.text == "late"


async def test_a_stream_may_go_on(limited):
    answer = await limited(REQUEST_TIMEOUT=0.1).get("/streams/")
    assert answer.text == "012"


async def test_the_answer_waits_for_the_thread(limited):
    for timeout_s in TIMES_S:
        exchange = limited(REQUEST_TIMEOUT=timeout_s).get("/waits-in-thread/").start()
        async with asyncio.timeout(DEADLINE_S):
            while not exchange.task.done() and not exchange.task.cancelling():
                await asyncio.sleep(0.01)
        await steps()
        if seen:
            break
        await exchange
    assert exchange.messages == []
    released.set()
    assert (await exchange).status == 503
    assert seen == ["entered", 0]


async def test_what_was_committed_before_stays(limited):
    for timeout_s in TIMES_S:
        answer = await limited(REQUEST_TIMEOUT=timeout_s).get("/works-then-waits/")
        assert answer.status == 503
        if await Author.objects.aexists():
            break
    assert await Author.objects.acount() == 1


async def test_a_servers_cancellation_is_not_answered(limited):
    exchange = limited(REQUEST_TIMEOUT=60).get("/waits/").start()
    async with asyncio.timeout(DEADLINE_S):
        while not seen:
            await asyncio.sleep(0.01)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert exchange.messages == []
