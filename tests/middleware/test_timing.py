"""The duration of a request: a header, and one line in the log, however the request ends."""

from __future__ import annotations

import asyncio
import logging
import re
from io import BytesIO
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path
from hypothesis import given, settings
from hypothesis import strategies as st

from onloop.middleware import RequestTimingMiddleware
from tests.asgi.client import DEADLINE_S, Exchange
from tests.middleware.views import urlpatterns as views

OURS = "onloop.middleware.RequestTimingMiddleware"
JSON_ERRORS = "onloop.middleware.JSONErrorMiddleware"
GZIP = "django.middleware.gzip.GZipMiddleware"
VIEWS = "tests.middleware.views"


class Stage:
    """Where views and tests meet: made anew for each test."""

    def __init__(self):
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = []


stage: Stage


async def waits(request):
    stage.entered.set()
    await asyncio.Event().wait()


async def waits_in_its_body(request):
    async def parts():
        try:
            yield "one "
            stage.entered.set()
            await stage.go_on.wait()
            yield "two"
        finally:
            stage.closed.append("parts")

    return StreamingHttpResponse(parts())


def endless(request):
    def parts():
        try:
            while True:
                yield "again "
        finally:
            stage.closed.append("parts")

    return StreamingHttpResponse(parts())


async def body_fails(request):
    async def parts():
        yield "one "
        raise ZeroDivisionError

    return StreamingHttpResponse(parts())


def body_fails_sync(request):
    def parts():
        yield "one "
        raise ZeroDivisionError

    return StreamingHttpResponse(parts())


def a_file(request):
    return FileResponse(BytesIO(b"a file"))


urlpatterns = [
    path("waits/", waits),
    path("waits-in-its-body/", waits_in_its_body),
    path("endless/", endless),
    path("body-fails/", body_fails),
    path("body-fails-sync/", body_fails_sync),
    path("a-file/", a_file),
    *views,
]


@pytest.fixture
def project(project):
    global stage  # noqa: PLW0603 - views are functions of the module
    stage = Stage()
    project.configure(ROOT_URLCONF=__name__, MIDDLEWARE=[OURS])
    return project


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.INFO, logger="onloop.request")


@pytest.fixture
def lines(caplog):
    """The lines so far, with N for each duration."""

    def lines():
        messages = [r.getMessage() for r in caplog.records if r.name == "onloop.request"]
        return [re.sub(r"in \d+\.\d{4} s", "in N s", message) for message in messages]

    return lines


# --- responses --------------------------------------------------------------------------------


async def test_a_response_has_its_duration_in_a_header_and_a_line(ask, lines):
    answer = await ask("/fine/?secret=1")
    assert re.fullmatch(r"\d+\.\d{4}", answer.headers["x-request-duration"])
    assert lines() == ["GET /fine/ 200 in N s"]


async def test_a_line_has_its_values_as_attributes_too(ask, caplog):
    await ask("/own/json/", method="POST")
    (record,) = [r for r in caplog.records if r.name == "onloop.request"]
    assert (record.method, record.path, record.status) == ("POST", "/own/json/", 409)
    assert record.outcome == "complete"
    assert record.levelno == logging.INFO
    assert record.args == ("POST", "/own/json/", 409, record.duration, "")


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
async def test_where_nobody_reads_the_log_there_is_a_header_and_no_line(ask, caplog, lines):
    caplog.set_level(logging.WARNING, logger="onloop.request")
    assert "x-request-duration" in (await ask("/fine/")).headers
    assert "x-request-duration" in (await ask("/stream/")).headers
    assert lines() == []


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("/raises/missing/", "GET /raises/missing/ 404 in N s"),
        (
            "/raises/unexpected/",
            "GET /raises/unexpected/ 500 in N s: raised ZeroDivisionError",
        ),
        (
            "/raises-sync/unexpected/",
            "GET /raises-sync/unexpected/ 500 in N s: raised ZeroDivisionError",
        ),
        ("/template/", "GET /template/ 500 in N s: raised ZeroDivisionError"),
        ("/fine/?in=unexpected", "GET /fine/ 500 in N s"),
        ("/fine/?out=denied", "GET /fine/ 403 in N s"),
    ],
)
async def test_the_line_of_an_error_says_so(project, ask, lines, address, line):
    project.configure(MIDDLEWARE=[OURS, f"{VIEWS}.raises_in", f"{VIEWS}.raises_out"])
    answer = await ask(address)
    assert "x-request-duration" in answer.headers
    assert lines() == [line]


@pytest.mark.parametrize("order", [1, -1])
async def test_it_works_on_either_side_of_problem_documents(project, ask, lines, order):
    project.configure(MIDDLEWARE=[OURS, JSON_ERRORS][::order])
    answer = await ask("/raises/missing/")
    assert answer.json()["status"] == 404
    assert "x-request-duration" in answer.headers
    assert lines() == ["GET /raises/missing/ 404 in N s"]


async def test_an_exception_that_goes_through_is_in_the_line(project, lines):
    project.configure(DEBUG_PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(ZeroDivisionError):
        await project.get("/raises/unexpected/")
    assert lines() == ["GET /raises/unexpected/ - in N s: raised ZeroDivisionError"]


async def test_no_thread_is_started_for_it(project, started_threads):
    project.configure(MIDDLEWARE=[OURS, JSON_ERRORS])
    for address in ("/fine/", "/raises/missing/", "/raises/unexpected/", "/stream/"):
        await project.get(address, headers=[("accept", "application/json")])
    assert started_threads == []


# --- requests that are cancelled --------------------------------------------------------------


async def entered(exchange):
    exchange.start()
    async with asyncio.timeout(DEADLINE_S):
        await stage.entered.wait()
    return exchange


@pytest.mark.parametrize("handler", ["onloop", "django"])
async def test_a_client_that_leaves_is_in_the_line(project, lines, handler):
    application = project.application if handler == "onloop" else djangos_asgi_application()
    exchange = await entered(Exchange(application, "/waits/"))
    exchange.leave()
    await exchange
    assert lines() == ["GET /waits/ - in N s: cancelled"]


async def test_a_server_that_cancels_is_in_the_line_and_its_cancel_goes_on(project, lines):
    exchange = await entered(project.get("/waits/"))
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert lines() == ["GET /waits/ - in N s: cancelled"]


# --- streamed bodies --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("view", ["stream", "stream-sync"])
async def test_a_streamed_body_has_one_line_at_its_end(ask, lines, view):
    answer = await ask(f"/{view}/")
    assert answer.content == b"one two"
    assert "x-request-duration" in answer.headers
    assert lines() == [f"GET /{view}/ 200 in N s"]


async def test_the_line_of_a_streamed_body_is_not_written_before_its_end(project, lines):
    exchange = await entered(project.get("/waits-in-its-body/"))
    assert await exchange.until_parts(1) == [b"one "]
    assert lines() == []
    stage.go_on.set()
    await exchange
    assert exchange.content == b"one two"
    assert lines() == ["GET /waits-in-its-body/ 200 in N s"]


@pytest.mark.parametrize("handler", ["onloop", "django"])
async def test_a_client_that_leaves_a_stream_that_waits_is_in_the_line(project, lines, handler):
    application = project.application if handler == "onloop" else djangos_asgi_application()
    exchange = await entered(Exchange(application, "/waits-in-its-body/"))
    exchange.leave()
    await exchange
    assert lines() == ["GET /waits-in-its-body/ 200 in N s: cancelled"]
    assert stage.closed == ["parts"]


@pytest.mark.parametrize("middleware", [[OURS], [GZIP, OURS], [OURS, GZIP]])
async def test_a_client_that_leaves_a_stream_that_never_waits_is_in_the_line(
    project, lines, middleware
):
    project.configure(MIDDLEWARE=middleware)
    exchange = project.get("/endless/", headers=[("accept-encoding", "gzip")])
    exchange.start()
    await exchange.until_parts(1)
    exchange.leave()
    await exchange
    assert lines() == ["GET /endless/ 200 in N s: cancelled"]
    assert stage.closed == ["parts"]


@pytest.mark.parametrize("view", ["waits-in-its-body", "endless", "a-file"])
async def test_a_client_that_is_gone_before_the_first_part_is_in_the_line(project, lines, view):
    exchange = project.get(f"/{view}/")
    exchange.send_error = ConnectionResetError("gone")
    await exchange
    assert lines() == [f"GET /{view}/ 200 in N s: cancelled"]


async def test_a_server_that_cancels_a_stream_is_in_the_line_and_its_cancel_goes_on(
    project, lines
):
    exchange = await entered(project.get("/waits-in-its-body/"))
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert lines() == ["GET /waits-in-its-body/ 200 in N s: cancelled"]


@pytest.mark.parametrize("view", ["body-fails", "body-fails-sync"])
async def test_a_body_that_fails_is_in_the_line_and_the_exception_goes_on(project, lines, view):
    exchange = project.get(f"/{view}/")
    with pytest.raises(ZeroDivisionError):
        await exchange
    assert exchange.content == b"one "
    assert lines() == [f"GET /{view}/ 200 in N s: raised ZeroDivisionError"]


async def test_a_file_has_one_line(project, lines):
    exchange = await project.get("/a-file/")
    assert exchange.content == b"a file"
    assert lines() == ["GET /a-file/ 200 in N s"]


@pytest.mark.parametrize("wrapper", [{"wsgi.file_wrapper": FileWrapper}, {}])
async def test_a_wsgi_server_may_send_a_file_by_itself(project, lines, wrapper):
    def serve():
        environ = {"PATH_INFO": "/a-file/", **wrapper}
        setup_testing_defaults(environ)
        response = get_wsgi_application()(environ, lambda status, headers: None)
        assert isinstance(response, FileWrapper) == bool(wrapper)
        content = b"".join(response)
        response.close()
        return content

    assert await asyncio.to_thread(serve) == b"a file"
    assert lines() == ["GET /a-file/ 200 in N s"]


# --- the class alone --------------------------------------------------------------------------


def test_the_path_of_a_request_cannot_begin_a_line(lines):
    request = RequestFactory().get("/")
    request.path = "/a\r\nGET /forged 200 in 0.1 s"
    RequestTimingMiddleware(lambda request: HttpResponse())(request)
    (line,) = lines()
    assert line.isprintable()
    assert line.startswith("GET /a\\r\\nGET /forged")


@settings(max_examples=200, deadline=None)
@given(
    path=st.one_of(
        st.text(max_size=40),
        st.binary(max_size=40).map(lambda raw: raw.decode(errors="surrogateescape")),
    )
)
def test_no_path_makes_it_fail(path):
    request = RequestFactory().get("/")
    request.path = path
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    logger = logging.getLogger("onloop.request")
    logger.addHandler(handler)
    try:
        RequestTimingMiddleware(lambda request: HttpResponse())(request)
    finally:
        logger.removeHandler(handler)
    assert len(seen) == 1
    assert seen[0].isprintable()


async def test_on_either_side_it_is_what_its_neighbour_is():
    async def get_response(request):
        return HttpResponse()

    with override_settings(ROOT_URLCONF=__name__):
        over_async = RequestTimingMiddleware(get_response)
        assert "X-Request-Duration" in await over_async(AsyncRequestFactory().get("/"))
        over_sync = RequestTimingMiddleware(lambda request: HttpResponse())
        assert "X-Request-Duration" in over_sync(RequestFactory().get("/"))


def test_without_a_neighbour_it_says_so():
    with pytest.raises(ValueError, match="get_response must be provided"):
        RequestTimingMiddleware(None)
