"""A client that leaves cancels its request and nothing else; a server's cancel goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.core.signals import request_finished
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.asgi.client import DEADLINE_S
from tests.asgi.conftest import borrowed
from tests.project.library.models import Author

SLEEP = "SELECT pg_sleep(60) AS a_long_sleep"


class Stage:
    """Where views and tests meet: made anew for each test."""

    def __init__(self):
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.thread_entered = threading.Event()
        self.thread_goes_on = threading.Event()
        self.seen = []
        self.task = None  # the server's, of the request


stage: Stage


@pytest.fixture(autouse=True)
async def _stage():
    global stage  # noqa: PLW0603 - views are functions of the module
    stage = Stage()
    yield
    stage.thread_goes_on.set()


# --- views ------------------------------------------------------------------------------------


async def waits(request):
    stage.entered.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        stage.seen.append("cancelled")
        raise
    finally:
        stage.seen.append(await Author.objects.acount())


async def cancelled_again_at_its_end(request):
    """The client leaves, and the server cancels at the very moment at which that is over."""
    stage.entered.set()
    try:
        await asyncio.Event().wait()
    finally:
        asyncio.get_running_loop().call_soon(stage.task.cancel)


async def swallows(request):
    stage.entered.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return HttpResponse("as if nothing had happened")


async def queries(request):
    stage.entered.set()
    await asyncio.to_thread(lambda: None)
    with connection.cursor() as cursor:
        cursor.execute(SLEEP)
    return HttpResponse()


async def in_a_block(request):
    async with transaction.atomic():
        await Author.objects.acreate(name="never committed")
        stage.entered.set()
        await asyncio.Event().wait()


async def with_children(request):
    async def child():
        try:
            await asyncio.Event().wait()
        finally:
            stage.seen.append("child ended")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task(child())
        await asyncio.sleep(0)
        stage.entered.set()


def in_thread(request):
    with transaction.atomic():
        Author.objects.create(name="written in a thread")
        stage.thread_entered.set()
        assert stage.thread_goes_on.wait(DEADLINE_S)
        stage.seen.append(Author.objects.count())
    return HttpResponse()


async def endless(request):
    async def numbers():
        try:
            number = 0
            while True:
                yield f"{number};"
                number += 1
        finally:
            stage.seen.append("closed")
            stage.seen.append(await Author.objects.acount())

    return StreamingHttpResponse(numbers())


async def waits_between_items(request):
    async def numbers():
        try:
            yield "first"
            stage.entered.set()
            await asyncio.Event().wait()
        finally:
            stage.seen.append("closed")

    return StreamingHttpResponse(numbers())


def endless_sync(request):
    def numbers():
        try:
            number = 0
            while True:
                yield f"{number};"
                number += 1
        finally:
            stage.seen.append("closed")
            stage.seen.append(Author.objects.count())

    return StreamingHttpResponse(numbers())


async def has_its_own_timeout(request):
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        return HttpResponse("timed out")


urlpatterns = [
    path("waits/", waits),
    path("swallows/", swallows),
    path("cancelled-again/", cancelled_again_at_its_end),
    path("queries/", queries),
    path("in-a-block/", in_a_block),
    path("with-children/", with_children),
    path("in-thread/", in_thread),
    path("endless/", endless),
    path("waits-between-items/", waits_between_items),
    path("endless-sync/", endless_sync),
    path("has-its-own-timeout/", has_its_own_timeout),
]


async def entered(exchange):
    """Start the exchange; its view has been reached."""
    exchange.start()
    async with asyncio.timeout(DEADLINE_S):
        await stage.entered.wait()
    return exchange


async def thread_entered(exchange):
    exchange.start()
    assert await asyncio.to_thread(stage.thread_entered.wait, DEADLINE_S)
    return exchange


# --- the client leaves ------------------------------------------------------------------------


async def test_the_view_of_a_client_that_left_is_cancelled_where_it_waits(project):
    exchange = await entered(project.get("/waits/"))
    exchange.leave()
    await exchange
    assert stage.seen == ["cancelled", 0]
    assert exchange.messages == []


@pytest.mark.parametrize("view", ["waits", "swallows", "in-a-block", "with-children"])
async def test_the_servers_task_is_not_cancelled_afterwards(project, view):
    exchange = await entered(project.get(f"/{view}/"))
    exchange.leave()
    await exchange
    assert exchange.cancelling_afterwards == 0


async def test_a_server_that_cancels_as_the_leaving_is_over_has_all_closed(project):
    ended = []

    def note(**kwargs):
        ended.append("request_finished")

    request_finished.connect(note)
    try:
        exchange = await entered(project.get("/cancelled-again/"))
        stage.task = exchange.task
        exchange.leave()
        with pytest.raises(asyncio.CancelledError):
            await exchange
    finally:
        request_finished.disconnect(note)
    assert ended == ["request_finished"]


async def test_a_view_may_swallow_the_leaving_of_its_client(project):
    exchange = await entered(project.get("/swallows/"))
    exchange.leave()
    await exchange
    assert exchange.text == "as if nothing had happened"


async def test_tasks_of_the_view_end_with_it(project):
    exchange = await entered(project.get("/with-children/"))
    exchange.leave()
    await exchange
    assert stage.seen == ["child ended", "child ended"]


async def test_a_transaction_of_a_client_that_left_is_rolled_back(project):
    exchange = await entered(project.get("/in-a-block/"))
    exchange.leave()
    await exchange
    assert not await Author.objects.aexists()


async def test_a_query_of_a_client_that_left_is_stopped_at_the_server(project, pg_activity):
    def running():
        return pg_activity("a_long_sleep", state="active")

    async def until_it_runs():
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(running):
                pass

    exchange = await entered(project.get("/queries/"))
    await until_it_runs()
    exchange.leave()
    await exchange
    assert await asyncio.to_thread(running) == []


async def test_the_connection_of_a_stopped_query_is_used_again(project, pg_activity):
    exchange = await entered(project.get("/queries/"))
    async with asyncio.timeout(DEADLINE_S):
        while not (sleeping := await asyncio.to_thread(pg_activity, "a_long_sleep")):
            pass
    exchange.leave()
    await exchange
    await Author.objects.acount()
    ours = await asyncio.to_thread(pg_activity, application_name="onloop-tests")
    assert [backend.pid for backend in ours] == [sleeping[0].pid]


async def test_a_timeout_of_the_view_is_not_taken_for_the_clients_leaving(project):
    exchange = await project.get("/has-its-own-timeout/")
    assert exchange.text == "timed out"


# --- the client leaves a stream ---------------------------------------------------------------


@pytest.mark.parametrize("view", ["endless", "endless-sync"])
async def test_a_generator_is_closed_when_the_client_leaves_between_items(project, view):
    exchange = project.get(f"/{view}/").start()
    await exchange.until_parts(3)
    exchange.stop_reading()
    exchange.leave()
    await exchange
    assert stage.seen == ["closed", 0]


async def test_a_generator_is_closed_when_the_client_leaves_while_it_waits(project):
    exchange = await entered(project.get("/waits-between-items/"))
    exchange.leave()
    await exchange
    assert stage.seen == ["closed"]


@pytest.mark.parametrize("view", ["endless", "endless-sync"])
async def test_a_send_that_fails_ends_the_stream_like_a_client_that_left(project, view):
    exchange = project.get(f"/{view}/").start()
    await exchange.until_parts(3)
    exchange.send_error = OSError("the client is gone")
    await exchange
    assert stage.seen == ["closed", 0]


# --- the server cancels -----------------------------------------------------------------------


async def test_a_cancel_by_the_server_is_not_swallowed(project):
    exchange = await entered(project.get("/waits/"))
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert exchange.task.cancelled()


@pytest.mark.parametrize("first", ["client", "server"])
async def test_when_both_happen_at_once_the_servers_cancel_goes_on(project, first):
    exchange = await entered(project.get("/waits/"))
    if first == "client":
        exchange.leave()
        exchange.task.cancel()
    else:
        exchange.task.cancel()
        exchange.leave()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert exchange.task.cancelled()


async def test_a_cancel_by_the_server_after_the_client_has_left_goes_on(project):
    exchange = await thread_entered(project.get("/in-thread/"))
    exchange.leave()
    await asyncio.sleep(0)  # the watch takes the message,
    await asyncio.sleep(0)  # the request is cancelled
    exchange.task.cancel()
    stage.thread_goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await exchange


# --- a thread cannot be cancelled -------------------------------------------------------------


async def test_a_thread_keeps_its_connection_when_the_client_leaves(project):
    exchange = await thread_entered(project.get("/in-thread/"))
    exchange.leave()
    for _ in range(10):
        await asyncio.sleep(0)
    assert borrowed() == {"default": 1}
    stage.thread_goes_on.set()
    await exchange
    assert stage.seen == [1]
    assert await Author.objects.acount() == 1


async def test_a_thread_keeps_its_connection_when_the_server_cancels_twice(project):
    exchange = await thread_entered(project.get("/in-thread/"))
    for _ in range(2):
        exchange.task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
    assert borrowed() == {"default": 1}
    stage.thread_goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert borrowed() == {}
    assert await Author.objects.acount() == 1


async def test_a_thread_that_no_longer_waits_does_not_hold_the_loop(project):
    exchange = await thread_entered(project.get("/in-thread/"))
    exchange.leave()
    other = await project.get("/has-its-own-timeout/")
    assert other.status == 200
    stage.thread_goes_on.set()
    await exchange


async def test_a_request_is_finished_only_when_its_thread_is(project):
    from django.core.signals import request_finished

    def finished(**kwargs):
        stage.seen.append("finished")

    request_finished.connect(finished)
    try:
        exchange = await thread_entered(project.get("/in-thread/"))
        exchange.leave()
        for _ in range(10):
            await asyncio.sleep(0)
        stage.thread_goes_on.set()
        await exchange
    finally:
        request_finished.disconnect(finished)
    assert stage.seen == [1, "finished"]
