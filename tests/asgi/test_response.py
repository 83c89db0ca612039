"""Responses on their way out: whole, in pieces, and streams with back-pressure."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import connection, transaction
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.asgi.client import DEADLINE_S
from tests.asgi.conftest import borrowed
from tests.project.library.models import Author

CHUNK = 2**16
asked: list[int]
go_on: asyncio.Event


@pytest.fixture(autouse=True)
async def _stage():
    global asked, go_on
    asked, go_on = [], asyncio.Event()


# --- views ------------------------------------------------------------------------------------


async def cookies_and_headers(request):
    response = HttpResponse("é", headers={"X-Latin": "\xe9", "X-Count": 3})
    response.set_cookie("one", "1", httponly=True)
    response.set_cookie("two", "2")
    return response


async def large(request):
    return HttpResponse(b"x" * (2 * CHUNK + 1))


async def numbers(request):
    async def items():
        for number in range(5):
            asked.append(number)
            yield str(number)

    return StreamingHttpResponse(items())


def numbers_sync(request):
    def items():
        for number in range(5):
            asked.append(number)
            yield str(number)

    return StreamingHttpResponse(items())


async def names(request):
    async def items():
        async for author in Author.objects.order_by("id").aiterator(chunk_size=2):
            yield f"{author.name};"

    return StreamingHttpResponse(items())


def names_sync(request):
    """A QuerySet that is evaluated while it is sent, as one would write it for WSGI."""

    def items():
        for author in Author.objects.order_by("id").iterator(chunk_size=2):
            yield f"{author.name} with {author.books.count()};"

    return StreamingHttpResponse(items())


async def thread_of_items(request):
    def items():
        yield str(threading.get_ident())

    return StreamingHttpResponse(items())


async def breaks(request):
    async def items():
        try:
            async with transaction.atomic():
                yield str(await Author.objects.acount())
                raise ZeroDivisionError
        finally:
            asked.append(-1)

    return StreamingHttpResponse(items())


def breaks_sync(request):
    def items():
        try:
            with transaction.atomic():
                yield str(Author.objects.count())
                raise ZeroDivisionError
        finally:
            asked.append(-1)

    return StreamingHttpResponse(items())


async def endless(request):
    async def items():
        while True:
            yield "x"

    return StreamingHttpResponse(items())


def endless_sync(request):
    def items():
        while True:
            yield "x"

    return StreamingHttpResponse(items())


async def large_items(request):
    return StreamingHttpResponse(iter([b"x" * (CHUNK + 1), b"", b"y"]))


async def nothing(request):
    return StreamingHttpResponse(iter([]))


async def events(request):
    async def items():
        yield "data: first\n\n"
        await go_on.wait()
        yield "data: second\n\n"

    return StreamingHttpResponse(items(), content_type="text/event-stream")


async def this_file(request):
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("cookies-and-headers/", cookies_and_headers),
    path("large/", large),
    path("numbers/", numbers),
    path("numbers-sync/", numbers_sync),
    path("names/", names),
    path("names-sync/", names_sync),
    path("thread-of-items/", thread_of_items),
    path("breaks/", breaks),
    path("breaks-sync/", breaks_sync),
    path("endless/", endless),
    path("endless-sync/", endless_sync),
    path("large-items/", large_items),
    path("nothing/", nothing),
    path("events/", events),
    path("this-file/", this_file),
]


# --- whole responses --------------------------------------------------------------------------


async def test_headers_and_each_cookie_are_sent(project):
    project.configure(MIDDLEWARE=[])
    answer = await project.get("/cookies-and-headers/")
    assert answer.text == "é"
    assert (b"X-Latin", b"\xe9") in answer.messages[0]["headers"]
    assert answer.headers("x-count") == ["3"]
    assert answer.headers("set-cookie") == ["one=1; HttpOnly; Path=/", "two=2; Path=/"]


async def test_a_large_body_goes_out_in_pieces(project):
    answer = await project.get("/large/")
    assert [len(part) for part in answer.parts] == [CHUNK, CHUNK, 1]
    assert answer.complete


async def test_a_file_is_sent_and_closed(project):
    # That it is closed is checked by the run: warnings of open files are errors.
    answer = await project.get("/this-file/")
    assert b"test_a_file_is_sent_and_closed" in answer.content


# --- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["numbers", "numbers-sync"])
async def test_each_item_is_sent_as_it_comes(project, path):
    answer = await project.get(f"/{path}/")
    assert answer.parts == [b"0", b"1", b"2", b"3", b"4"]
    assert answer.complete


@pytest.mark.parametrize("path", ["numbers", "numbers-sync"])
async def test_the_next_item_is_asked_for_when_the_last_has_been_taken(project, path):
    exchange = project.get(f"/{path}/")
    exchange.stop_reading()
    exchange.start()
    seen = []
    for messages in range(1, 5):
        await exchange.until(lambda e, count=messages: len(e.messages) == count)
        seen.append(list(asked))
        exchange.read()
    exchange.go_on_reading()
    await exchange
    assert seen == [[], [0], [0, 1], [0, 1, 2]]


async def test_an_item_is_out_before_the_next_is_there(project):
    exchange = project.get("/events/").start()
    assert await exchange.until_parts(1) == [b"data: first\n\n"]
    go_on.set()
    await exchange
    assert exchange.parts == [b"data: first\n\n", b"data: second\n\n"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("names", "A;B;C;D;E;"), ("names-sync", "".join(f"{n} with 0;" for n in "ABCDE"))],
)
async def test_a_stream_may_query_while_it_is_sent(project, path, expected):
    await Author.objects.abulk_create(Author(name=name) for name in "ABCDE")
    answer = await project.get(f"/{path}/")
    assert answer.text == expected
    assert borrowed() == {}


async def test_a_sync_iterator_runs_on_the_loops_thread(project, started_threads):
    answer = await project.get("/thread-of-items/")
    assert (answer.text, started_threads) == (str(threading.get_ident()), [])


async def test_large_items_go_out_in_pieces_and_empty_ones_not_at_all(project):
    answer = await project.get("/large-items/")
    assert [len(part) for part in answer.parts] == [CHUNK, 1, 1]


async def test_a_stream_without_items_is_an_empty_body(project):
    answer = await project.get("/nothing/")
    assert (answer.content, answer.complete) == (b"", True)


@pytest.mark.parametrize("path", ["breaks", "breaks-sync"])
async def test_an_error_in_a_stream_reaches_the_server(project, path):
    exchange = project.get(f"/{path}/")
    # The server must cut the connection: an end would look as if this were all.
    with pytest.raises(ZeroDivisionError):
        await exchange
    assert exchange.parts == [b"0"]
    assert not exchange.complete
    assert asked == [-1]
    assert borrowed() == {}


@pytest.mark.parametrize("path", ["endless", "endless-sync"])
async def test_a_stream_that_never_waits_lets_others_be_served(project, path):
    stream = project.get(f"/{path}/").start()
    await stream.until_parts(1)
    other = await project.get("/large/")
    assert other.complete
    stream.leave()
    await stream


@pytest.mark.parametrize("path", ["numbers", "numbers-sync", "names-sync"])
async def test_a_stream_can_be_compressed_on_its_way(project, settings_with, path):
    import gzip

    project.configure(MIDDLEWARE=settings_with("django.middleware.gzip.GZipMiddleware"))
    await Author.objects.acreate(name="A")
    answer = await project.get(f"/{path}/", headers=[("accept-encoding", "gzip")])
    assert answer.headers("content-encoding") == ["gzip"]
    expected = b"A with 0;" if path == "names-sync" else b"01234"
    assert gzip.decompress(answer.content) == expected


async def test_two_streams_take_turns(project):
    streams = [project.get("/events/").start() for _ in range(2)]
    for stream in streams:
        await stream.until_parts(1)
    go_on.set()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(stream.end() for stream in streams))
    assert [stream.complete for stream in streams] == [True, True]


async def test_a_stream_holds_no_connection_while_it_waits(project):
    await Author.objects.acreate(name="A")
    exchange = project.get("/events/").start()
    await exchange.until_parts(1)
    assert (connection.in_atomic_block, borrowed()) == (False, {})
    go_on.set()
    await exchange
