"""A request that is cancelled while user code of it runs in a thread waits for the thread."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.asgi.client import DEADLINE_S
from tests.loops import steps

entered = threading.Event()
goes_on = threading.Event()
read: list[bytes] = []


@pytest.fixture(autouse=True)
def _fresh():
    entered.clear()
    goes_on.clear()
    read.clear()
    yield
    goes_on.set()


@csrf_exempt
@sync_to_async
def reads_late(request):
    entered.set()
    assert goes_on.wait(DEADLINE_S)
    read.append(request.body)
    return HttpResponse()


urlpatterns = [path("reads-late/", reads_late)]


async def started(project):
    exchange = project.post("/reads-late/", b"the body")
    exchange.start()
    assert await asyncio.to_thread(entered.wait, DEADLINE_S)
    return exchange


async def test_the_body_stays_open_for_the_thread_of_a_view_whose_client_left(project):
    exchange = await started(project)
    exchange.leave()
    async with asyncio.timeout(DEADLINE_S):
        while not exchange.task.cancelling():
            await asyncio.sleep(0)
    await steps()
    assert not exchange.task.done()
    goes_on.set()
    await exchange
    assert read == [b"the body"]
    assert exchange.messages == []


async def test_so_it_does_where_the_server_cancels_the_request_again_and_again(project):
    exchange = await started(project)
    for _ in range(3):
        exchange.task.cancel()
        await steps()
    assert not exchange.task.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task
    assert read == [b"the body"]
