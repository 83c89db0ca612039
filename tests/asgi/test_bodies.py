"""Bodies are read when somebody asks, wherever that is; nothing is kept before."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse, UnreadablePostError
from django.http.request import RawPostDataException
from django.urls import path
from hypothesis import given, settings
from hypothesis import strategies as st

import onloop
from onloop.asgi.incoming import READ_AHEAD, Incoming
from onloop.asgi.limits import of_settings
from onloop.asgi.request import Stream
from tests.asgi.client import DEADLINE_S, Exchange
from tests.loops import steps

seen: list[object] = []
entered: asyncio.Event
goes_on: asyncio.Event


@pytest.fixture(autouse=True)
async def _fresh():
    global entered, goes_on
    seen.clear()
    entered, goes_on = asyncio.Event(), asyncio.Event()


@pytest.fixture
def project(bare_project, request):
    bare_project.configure(
        MIDDLEWARE=[], DATA_UPLOAD_MAX_MEMORY_SIZE=None, ROOT_URLCONF=request.module.__name__
    )
    return bare_project


# --- views ------------------------------------------------------------------------------------


def digest(body):
    return HttpResponse(f"{len(body)} {hashlib.sha256(body).hexdigest()}")


def body_in_thread(request):
    return digest(request.body)


@onloop.on_loop
def body_on_loop(request):
    return digest(request.body)


async def body_in_async_view(request):
    return digest(request.body)


async def abody(request):
    return digest(await request.abody())


async def in_pieces(request):
    sha, size = hashlib.sha256(), 0
    async for piece in request:
        sha.update(piece)
        size += len(piece)
    return HttpResponse(f"{size} {sha.hexdigest()}")


async def in_reads(request):
    parts = []
    while part := request.read(1_000):
        parts.append(part)
    assert all(len(part) == 1_000 for part in parts[:-1])
    return digest(b"".join(parts))


def in_lines_in_thread(request):
    return digest(b"".join(request))


async def in_a_task_of_its_own(request):
    return digest(await asyncio.create_task(request.abody()))


async def in_a_thread_of_its_own(request):
    return digest(await sync_to_async(lambda: request.body)())


async def twice(request):
    assert await request.abody() == request.body
    return digest(b"".join([piece async for piece in request]))


async def at_once(request):
    one, other = await asyncio.gather(
        request.abody(), onloop.sync_to_async(lambda: request.body)()
    )
    assert one is other
    return digest(one)


async def at_once_in_a_thread_and_here(request):
    one, other = await asyncio.gather(sync_to_async(lambda: request.body)(), request.abody())
    assert one is other
    return digest(one)


ALL = {
    name: globals()[name]
    for name in (
        "body_in_thread", "body_on_loop", "body_in_async_view", "abody", "in_pieces",
        "in_reads", "in_lines_in_thread", "in_a_task_of_its_own", "in_a_thread_of_its_own",
        "twice", "at_once", "at_once_in_a_thread_and_here",
    )
}  # fmt: skip


async def never_asks(request):
    entered.set()
    await goes_on.wait()
    return HttpResponse("done")


async def answers_at_once(request):
    return HttpResponse("done")


async def asks(request):
    try:
        async for piece in request:
            seen.append(len(piece))
            entered.set()
    except BaseException as exc:
        seen.append(type(exc))
        raise
    return HttpResponse("read")


def asks_in_thread(request):
    seen.append("in the thread")
    try:
        request.read()
    except BaseException as exc:
        seen.append(type(exc))
        raise
    return HttpResponse("read")


async def asks_too_late(request):
    request.read(1)
    try:
        await request.abody()
    except RawPostDataException as exc:
        seen.append(type(exc))
    try:
        async for _ in request:
            pass
    except RawPostDataException as exc:
        seen.append(type(exc))
    return HttpResponse()


urlpatterns = [
    *(path(f"{name}/", view) for name, view in ALL.items()),
    path("never-asks/", never_asks),
    path("at-once/", answers_at_once),
    path("asks/", asks),
    path("asks-in-thread/", asks_in_thread),
    path("asks-too-late/", asks_too_late),
]


# --- wherever it is read ----------------------------------------------------------------------

BODIES = {
    "none": [b""],
    "one piece": [b"short"],
    "three pieces": [b"in ", b"three ", b"pieces"],
    "an empty first piece": [b"", b"late"],
    "an empty last piece": [b"early", b""],
    "byte by byte": [b"x"] * 500,
    "lines": [b"one\ntw", b"o\n\nthr", b"ee\n", b"four"],
    "more than is read ahead": [bytes([n]) * 50_000 for n in range(9)],
}


@pytest.mark.parametrize("pieces", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("view", ALL)
async def test_a_body_arrives_whole_wherever_it_is_read(project, view, pieces):
    answer = await project.post(f"/{view}/", pieces)
    whole = b"".join(pieces)
    assert answer.text == f"{len(whole)} {hashlib.sha256(whole).hexdigest()}"


@pytest.mark.parametrize("view", ALL)
async def test_a_body_is_waited_for_while_it_comes(project, view):
    exchange = project.post(f"/{view}/", [])
    exchange.start()
    for number in range(5):
        await asyncio.sleep(0.005)
        exchange.feed(b"%d\n" % number, more_body=number < 4)
    answer = await exchange
    assert answer.text.startswith("10 ")


async def test_two_hundred_bodies_come_at_once(project):
    exchanges = [project.post(f"/{view}/", []).start() for view in ALL for _ in range(20)]
    for number in range(4):
        await steps()
        for which, exchange in enumerate(exchanges):
            exchange.feed(b"%d" % (which % 10) * 1_000, more_body=number < 3)
    for which, exchange in enumerate(exchanges):
        answer = await exchange
        whole = b"%d" % (which % 10) * 4_000
        assert answer.text == f"4000 {hashlib.sha256(whole).hexdigest()}"


@settings(deadline=None, max_examples=50)
@given(
    pieces=st.lists(st.binary(max_size=40), max_size=8),
    sizes=st.lists(st.integers(-1, 30), max_size=8),
    by_line=st.booleans(),
)
def test_reads_are_those_of_a_file(pieces, sizes, by_line):
    """Whatever the sizes of pieces and reads, the result is that of `BytesIO`."""
    from io import BytesIO

    whole = BytesIO(b"".join(pieces))

    async def check():
        queue = asyncio.Queue()
        for number, piece in enumerate(pieces or [b""], 1):
            queue.put_nowait(
                {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            )
        stream = Stream(
            Incoming(
                queue.get, b"", complete=False,
                limits=of_settings(), declared=None, when_left=lambda: None,
            )
        )  # fmt: skip
        name = "readline" if by_line else "read"
        for size in sizes:
            read = await onloop.sync_to_async(getattr(stream, name))(size)
            assert read == getattr(whole, name)(size)
        stream.incoming.stop()

    asyncio.run(check())


async def test_outside_of_a_bridge_the_awaitable_forms_are_named(project):
    async def reads(request):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def outside():
            try:
                request.read()
            except SynchronousOnlyOperation as exc:
                done.set_result(str(exc))

        loop.call_soon(outside)
        return HttpResponse(await done)

    project.configure(ROOT_URLCONF=(path("reads/", reads),))
    answer = await project.post("/reads/", [b"a", b"b"])
    assert "await request.abody()" in answer.text


async def test_who_asks_twice_is_told(project):
    answer = await project.post("/asks-too-late/", [b"a", b"b"])
    assert (answer.status, seen) == (200, [RawPostDataException, RawPostDataException])


# --- nothing is kept before somebody asks -----------------------------------------------------


class Counting(Exchange):
    """Counts the messages that the application has taken."""

    taken = 0

    async def _receive(self):
        message = await super()._receive()
        self.taken += 1
        return message


def counting(project, path, pieces):
    return Counting(project.application, path, method="POST", body=pieces)


async def test_a_view_that_does_not_ask_takes_one_message(project):
    exchange = counting(project, "/at-once/", [b"x" * 1_000] * 10).start()
    await exchange.until(lambda exchange: exchange.content == b"done")
    assert exchange.taken == 1
    await exchange


async def test_little_is_read_ahead_for_a_view_that_does_not_ask(project):
    exchange = counting(project, "/never-asks/", [b"x" * 10_000] * 100)
    exchange.start()
    await entered.wait()
    async with asyncio.timeout(DEADLINE_S):
        while exchange.taken < 7:
            await asyncio.sleep(0.01)
    await steps()
    assert exchange.taken == READ_AHEAD // 10_000 + 1
    goes_on.set()
    await exchange


async def test_a_slow_reader_holds_the_client_back(project):
    exchange = counting(project, "/asks/", [b"x" * READ_AHEAD] * 20)
    exchange.start()
    most = 0
    while not exchange.task.done():
        most = max(most, exchange.taken - len(seen))
        await asyncio.sleep(0)
    assert len(seen) == 20
    assert most <= 3  # one in hand, one kept, one on its way


# --- clients that leave -----------------------------------------------------------------------


@pytest.mark.parametrize("complete", [True, False])
async def test_a_view_that_never_asks_is_cancelled_when_its_client_leaves(project, complete):
    exchange = project.post("/never-asks/", b"a body", more_body=not complete).start()
    await entered.wait()
    exchange.leave()
    await exchange
    assert exchange.messages == []


async def test_a_view_is_cancelled_in_the_middle_of_the_body(project):
    exchange = project.post("/asks/", b"half", more_body=True).start()
    await entered.wait()
    exchange.leave()
    await exchange
    assert (seen, exchange.messages) == ([4, asyncio.CancelledError], [])


async def test_a_thread_that_waits_for_the_body_is_let_go_when_the_client_leaves(project):
    exchange = project.post("/asks-in-thread/", b"half", more_body=True).start()
    async with asyncio.timeout(DEADLINE_S):
        while not seen:
            await asyncio.sleep(0)
    exchange.leave()
    await exchange
    assert (seen, exchange.messages) == (["in the thread", UnreadablePostError], [])


@pytest.mark.parametrize("times", [1, 2])
async def test_a_thread_that_waits_for_the_body_is_let_go_at_a_cancellation(project, times):
    exchange = project.post("/asks-in-thread/", b"half", more_body=True).start()
    async with asyncio.timeout(DEADLINE_S):
        while not seen:
            await asyncio.sleep(0)
    for _ in range(times):
        exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert seen == ["in the thread", UnreadablePostError]
