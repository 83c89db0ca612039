"""What belongs to every request: signals, its end, the body, connections that come back."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.core.signals import request_finished, request_started
from django.db import DatabaseError, connection, transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path

from tests.asgi.client import DEADLINE_S
from tests.asgi.conftest import borrowed
from tests.project.library.models import Author

POOL_OF_ONE = {"pool": {"max_size": 1, "timeout": 0.05}}
holding: asyncio.Event
let_go: asyncio.Event


@pytest.fixture(autouse=True)
async def _events():
    global holding, let_go
    holding, let_go = asyncio.Event(), asyncio.Event()


# --- views ------------------------------------------------------------------------------------


class Response(HttpResponse):
    closings: list[str] = []

    def close(self):
        self.closings.append("closed")
        super().close()


async def plain(request):
    return Response("hello")


async def query(request):
    return Response(str(await Author.objects.acount()))


async def echo(request):
    return JsonResponse({"length": len(request.body), "body": request.body[:20].decode()})


async def form(request):
    return JsonResponse({
        "fields": request.POST.dict(),
        "files": {name: f.read().decode() for name, f in request.FILES.items()},
    })  # fmt: skip


async def raises(request):
    await Author.objects.acount()
    raise ZeroDivisionError


async def in_a_block_raises(request):
    async with transaction.atomic():
        await Author.objects.acreate(name="gone")
        raise ZeroDivisionError


async def bad_sql(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


async def leaves_a_transaction_open(request):
    connection.set_autocommit(False)
    await Author.objects.acreate(name="never committed")
    return Response()


async def connects(request):
    connection.ensure_connection()
    return Response()


async def holds(request):
    async with transaction.atomic():
        await Author.objects.acount()
        holding.set()
        await let_go.wait()
    return Response("held")


def holds_nothing_but_wants(request):
    return Response(str(Author.objects.count()))


async def catches_it(request):
    try:
        await Author.objects.acount()
    except DatabaseError as exc:
        return Response(type(exc).__name__)
    return Response("got one")


urlpatterns = [
    path("plain/", plain),
    path("query/", query),
    path("echo/", echo),
    path("form/", form),
    path("raises/", raises),
    path("in-a-block-raises/", in_a_block_raises),
    path("bad-sql/", bad_sql),
    path("leaves-a-transaction-open/", leaves_a_transaction_open),
    path("connects/", connects),
    path("holds/", holds),
    path("wants/", query),
    path("wants-sync/", holds_nothing_but_wants),
    path("catches-it/", catches_it),
]


# --- signals and the end ----------------------------------------------------------------------


@pytest.fixture
def signals():
    """Receivers of both signals, a sync and an async one each; gives what they were sent."""
    seen = []

    def started(**kwargs):
        seen.append("started")

    def finished(**kwargs):
        seen.append("finished")

    async def astarted(**kwargs):
        await Author.objects.acount()
        seen.append("async started")

    async def afinished(**kwargs):
        await Author.objects.acount()
        seen.append("async finished")

    for receiver in (started, astarted):
        request_started.connect(receiver)
    for receiver in (finished, afinished):
        request_finished.connect(receiver)
    yield seen
    for receiver in (started, astarted):
        request_started.disconnect(receiver)
    for receiver in (finished, afinished):
        request_finished.disconnect(receiver)


ONCE = ["started", "async started", "finished", "async finished"]


@pytest.mark.parametrize("path", ["plain", "query", "raises", "nowhere"])
async def test_signals_are_sent_once_to_sync_and_async_receivers(project, signals, path):
    await project.get(f"/{path}/")
    assert signals == ONCE


async def test_signals_are_sent_once_when_the_client_leaves(project, signals):
    exchange = project.get("/holds/").start()
    await holding.wait()
    exchange.leave()
    await exchange
    assert signals == ONCE


async def test_signals_are_sent_once_for_a_body_that_never_came(project, signals):
    project.configure(MIDDLEWARE=[])
    exchange = project.post("/echo/", b"half", more_body=True)
    exchange.leave()
    await exchange
    assert signals == ONCE
    assert exchange.messages == []


async def test_a_response_is_closed_once_it_is_sent(project):
    Response.closings.clear()
    await project.get("/plain/")
    assert Response.closings == ["closed"]


async def test_a_response_is_closed_when_it_cannot_be_sent(project):
    Response.closings.clear()
    exchange = project.get("/plain/")
    exchange.send_error = OSError("gone")
    await exchange
    assert Response.closings == ["closed"]


@pytest.mark.parametrize(
    "path",
    ["query", "raises", "in-a-block-raises", "bad-sql", "leaves-a-transaction-open",
     "connects", "nowhere"],
)  # fmt: skip
async def test_every_connection_is_back_after(project, path):
    # The second request has the connection that the first one opened.
    for _ in range(2):
        await project.get(f"/{path}/")
        assert borrowed() == {}


@pytest.mark.parametrize(
    "path", ["raises", "in-a-block-raises", "bad-sql", "leaves-a-transaction-open", "connects"]
)
async def test_no_transaction_is_open_after(project, pg_activity, path):
    await project.get(f"/{path}/")
    # A connection that was thrown away may take the server a moment to notice.
    async with asyncio.timeout(DEADLINE_S):
        while open_ := [
            backend
            for backend in await asyncio.to_thread(pg_activity, application_name="onloop-tests")
            if backend.state != "idle"
        ]:
            assert all("INSERT" in backend.query for backend in open_)


async def test_a_transaction_left_open_is_rolled_back(project):
    await project.get("/leaves-a-transaction-open/")
    assert not await Author.objects.aexists()


async def test_a_request_that_never_waits_is_served_without_a_task(project):
    tasks = []
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()

    def counting(loop, coro, **kwargs):
        tasks.append(coro)
        return (factory or asyncio.Task)(coro, loop=loop, **kwargs)

    exchange = project.get("/plain/").start()
    loop.set_task_factory(counting)
    try:
        await exchange
    finally:
        loop.set_task_factory(factory)
    assert exchange.text == "hello"
    assert tasks == []


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"short", [b"in ", b"three ", b"pieces"], [b"", b"late"], [b"x" * 3_000_000]],
    ids=["none", "one piece", "three pieces", "an empty first piece", "on the disk"],
)
async def test_a_body_arrives_whole(project, body):
    project.configure(MIDDLEWARE=[], DATA_UPLOAD_MAX_MEMORY_SIZE=None)
    answer = await project.post("/echo/", body)
    whole = b"".join(body) if isinstance(body, list) else body
    assert answer.json() == {"length": len(whole), "body": whole[:20].decode()}


async def test_a_body_in_pieces_may_outgrow_memory(project):
    project.configure(
        MIDDLEWARE=[], FILE_UPLOAD_MAX_MEMORY_SIZE=10, DATA_UPLOAD_MAX_MEMORY_SIZE=None
    )
    answer = await project.post("/echo/", [b"0123456789"] * 5)
    assert answer.json()["length"] == 50


async def test_form_fields_and_files_are_read(project):
    project.configure(MIDDLEWARE=[])
    body = (
        b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nOne\r\n'
        b'--b\r\nContent-Disposition: form-data; name="cover"; filename="c.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nthe file\r\n--b--\r\n"
    )
    answer = await project.post(
        "/form/", body, headers=[("content-type", "multipart/form-data; boundary=b")]
    )
    assert answer.json() == {"fields": {"title": "One"}, "files": {"cover": "the file"}}


# --- a pool that is full ----------------------------------------------------------------------


@pytest.fixture
def pool_of_one(monkeypatch):
    from django.db import connections

    monkeypatch.setitem(connections.settings["default"], "OPTIONS", POOL_OF_ONE)


@pytest.mark.parametrize("path", ["wants", "wants-sync"])
async def test_a_full_pool_is_503_with_retry_after_and_a_log_entry(
    project, pool_of_one, caplog, path
):
    holder = project.get("/holds/").start()
    await holding.wait()
    refused = await project.get(f"/{path}/")
    let_go.set()
    await holder
    assert refused.status == 503
    assert refused.headers("retry-after") == ["1"]
    (record,) = [r for r in caplog.records if r.name == "django.request"]
    assert record.levelno == logging.ERROR
    assert "size 1 of 1" in record.getMessage()


async def test_who_needs_no_connection_is_served_while_the_pool_is_full(project, pool_of_one):
    holder = project.get("/holds/").start()
    await holding.wait()
    served = await project.get("/plain/")
    let_go.set()
    await holder
    assert (served.status, holder.text) == (200, "held")


async def test_a_view_may_answer_a_full_pool_itself(project, pool_of_one):
    holder = project.get("/holds/").start()
    await holding.wait()
    answer = await project.get("/catches-it/")
    let_go.set()
    await holder
    assert answer.text == "PoolTimeout"


async def test_who_waits_gets_the_connection_when_it_is_free(project, monkeypatch):
    from django.db import connections

    options = {"pool": {"max_size": 1, "timeout": DEADLINE_S}}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    holder = project.get("/holds/").start()
    await holding.wait()
    waiting = project.get("/wants/").start()
    pool = connections["default"].loop_pool
    async with asyncio.timeout(DEADLINE_S):
        while not pool.stats()["requests_waiting"]:
            await asyncio.sleep(0)
    let_go.set()
    await holder
    await waiting
    assert waiting.text == "0"


async def test_a_client_that_leaves_the_queue_takes_no_connection_with_it(project, monkeypatch):
    from django.db import connections

    options = {"pool": {"max_size": 1, "timeout": DEADLINE_S}}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    holder = project.get("/holds/").start()
    await holding.wait()
    waiting = project.get("/wants/").start()
    pool = connections["default"].loop_pool
    async with asyncio.timeout(DEADLINE_S):
        while not pool.stats()["requests_waiting"]:
            await asyncio.sleep(0)
    waiting.leave()
    await waiting
    let_go.set()
    await holder
    assert (await project.get("/wants/")).text == "0"
