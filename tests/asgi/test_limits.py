"""Limits of a request's body: its bytes, and the time that it takes to come."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

import onloop
from onloop.asgi import incoming
from tests.asgi.test_uploads import multipart, post_form
from tests.loops import steps

seen: list[object] = []


@pytest.fixture(autouse=True)
def _fresh(caplog, monkeypatch):
    monkeypatch.setattr(incoming, "LINGER_S", 0.05)
    caplog.set_level(logging.WARNING, logger="django.request")
    seen.clear()


def reads(request):
    return HttpResponse(str(len(request.body)))


async def reads_async(request):
    size = 0
    async for piece in request:
        size += len(piece)
    return HttpResponse(str(size))


async def reads_post(request):
    return JsonResponse(request.POST.dict())


async def does_not_read(request):
    return HttpResponse("done")


def reads_before(get_response):
    def middleware(request):
        request.body  # noqa: B018 - reads it
        return get_response(request)

    return middleware


@onloop.limits(max_body=50)
def at_most_fifty(request):
    return reads(request)


@method_decorator(onloop.limits(max_body=50), name="dispatch")
class AtMostFifty(View):
    async def post(self, request):
        return await reads_async(request)


@onloop.limits(max_body=100_000, chunk_timeout=60)
async def may_be_long(request):
    return await reads_async(request)


urlpatterns = [
    path("reads/", reads),
    path("reads-on-loop/", onloop.on_loop(partial(reads))),
    path("reads-async/", reads_async),
    path("reads-post/", reads_post),
    path("does-not-read/", does_not_read),
    path("at-most-fifty/", at_most_fifty),
    path("at-most-fifty-class/", AtMostFifty.as_view()),
    path("may-be-long/", may_be_long),
]


# --- bytes ------------------------------------------------------------------------------------

READERS = ["reads", "reads-on-loop", "reads-async"]


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize("pieces", [[100], [60, 40], [1] * 100])
async def test_a_body_at_the_limit_is_read(limited, path, pieces):
    body = [b"x" * size for size in pieces]
    answer = await limited(MAX_BODY=100).post(f"/{path}/", body)
    assert (answer.status, answer.text) == (200, "100")


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize("pieces", [[101], [60, 41], [1] * 101, [100, 0, 1]])
@pytest.mark.parametrize("told", [True, False])
async def test_a_body_beyond_the_limit_is_413(limited, caplog, path, pieces, told):
    exchange = limited(MAX_BODY=100).post(f"/{path}/", [b"x" * size for size in pieces])
    if not told:
        exchange.scope["headers"] = [(b"transfer-encoding", b"chunked")]
    answer = await exchange
    assert answer.status == 413
    assert answer.text.endswith("Too Large")  # Python 3.13 has a newer name for it
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert "ONLOOP['MAX_BODY']" in record.getMessage()


async def test_whoever_wants_json_has_it_in_json(limited):
    project = limited(MAX_BODY=10)
    project.configure(MIDDLEWARE=["onloop.middleware.JSONErrorMiddleware"])
    answer = await project.post("/reads/", b"x" * 11, headers=[("accept", "application/json")])
    assert answer.headers("content-type") == ["application/problem+json"]
    assert (answer.status, answer.json()["status"]) == (413, 413)


async def test_what_is_too_big_by_its_length_is_not_waited_for(limited):
    exchange = limited(MAX_BODY=100).post("/reads/", [], headers=[("content-length", "101")])
    exchange.feed(b"x", more_body=True)
    answer = await exchange
    assert (answer.status, answer.headers("connection")) == (413, ["close"])


@pytest.mark.parametrize("path", ["does-not-read", "reads"])
async def test_the_connection_is_closed_if_the_rest_of_the_body_may_come(limited, path):
    project = limited(CHUNK_TIMEOUT=0.05)
    for more_body in (True, False):
        answer = await project.post(f"/{path}/", b"x", more_body=more_body)
        assert answer.headers("connection") == ["close"] * more_body
    exchange = project.post(f"/{path}/", b"x", more_body=True, http_version="2")
    assert (await exchange).headers("connection") == []


async def test_a_client_that_sends_on_can_read_its_response(limited, monkeypatch):
    """The connection is not closed under it: it leaves by itself."""
    monkeypatch.setattr(incoming, "LINGER_S", 60)
    exchange = limited().post("/does-not-read/", b"x" * 1_000, more_body=True).start()
    await exchange.until(lambda exchange: exchange.content == b"done")
    exchange.feed(b"x" * 1_000, more_body=True)
    await steps()
    assert not exchange.complete
    exchange.leave()
    await exchange
    assert exchange.cancelling_afterwards == 0


async def test_the_response_is_known_to_be_complete_before_the_end(limited):
    exchange = limited().post("/does-not-read/", b"x" * 1_000, more_body=True)
    assert (await exchange).headers("content-length") == ["4"]


async def test_a_client_that_has_sent_all_is_not_kept_waiting(limited, monkeypatch):
    monkeypatch.setattr(incoming, "LINGER_S", 60)
    answer = await limited().post("/does-not-read/", [b"x" * 1_000] * 5)
    assert (answer.text, answer.complete) == ("done", True)


async def test_a_view_that_does_not_read_does_not_mind(limited):
    answer = await limited(MAX_BODY=1).post("/does-not-read/", b"x" * 100)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["at-most-fifty", "at-most-fifty-class"])
async def test_a_view_may_have_a_lower_limit(limited, path):
    project = limited(MAX_BODY=100)
    assert (await project.post(f"/{path}/", [b"x" * 25] * 2)).status == 200
    assert (await project.post(f"/{path}/", [b"x" * 25] * 2 + [b"x"])).status == 413
    assert (await project.post(f"/{path}/", b"x" * 51)).status == 413


async def test_a_middleware_that_has_read_the_body_does_not_mind_the_views_limit(limited):
    project = limited(MAX_BODY=100)
    project.configure(MIDDLEWARE=[f"{__name__}.reads_before"])
    answer = await project.post("/at-most-fifty/", b"x" * 60)
    assert (answer.status, answer.text) == (200, "60")


async def test_a_view_may_have_a_higher_limit(limited):
    project = limited(MAX_BODY=100)
    assert (await project.post("/may-be-long/", b"x" * 1_000)).text == "1000"
    assert (await project.post("/may-be-long/", [b"x" * 1_000] * 3)).text == "3000"


async def test_csrf_reads_the_form_within_the_limits_of_the_view(project, settings_with):
    project.configure(ONLOOP={"MAX_BODY": 100})
    body = [b"csrfmiddlewaretoken=", b"x" * 100, b"&a=1"]
    answer = await project.post(
        "/reads-post/",
        body,
        headers=[("content-type", "application/x-www-form-urlencoded")],
        cookies={"csrftoken": "x" * 32},
    )
    assert answer.status == 413


async def test_more_than_the_declared_length_is_400(limited):
    exchange = limited().post("/reads/", [], headers=[("content-length", "5")])
    for number in range(3):
        exchange.feed(b"xxx", more_body=number < 2)
    assert (await exchange).status == 400


async def test_in_a_body_in_chunks_a_length_means_nothing(limited):
    async def tells(request):
        size = len(request.body)
        return HttpResponse(f"{size} {request.META.get('CONTENT_LENGTH')}")

    project = limited()
    project.configure(ROOT_URLCONF=(path("tells/", tells),))
    exchange = project.post("/tells/", [b"x" * 10, b"x" * 5])
    exchange.scope["headers"] = [
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
    ]
    assert (await exchange).text == "15 None"


@pytest.mark.parametrize("length", ["9" * 5_000, "-1", "0x10", "", "5, 5", "٣"])
async def test_an_odd_length_is_survived(limited, length):
    exchange = limited(MAX_BODY=100).post("/reads-async/", [b"xxx", b"xx"])
    exchange.scope["headers"] = [(b"content-length", length.encode())]
    answer = await exchange
    assert answer.status == (413 if length.startswith("9") else 200)


async def test_a_form_beyond_the_limit_can_be_looked_at_by_an_error_page(limited, exceptions):
    """The log's filters and error pages read `request.POST`: no second error comes of it."""
    project = limited(MAX_BODY=100)
    answer = await post_form(
        project, [multipart((b"a", b"", b"x" * 200))[:150], b"x" * 50], "/reads-post/"
    )
    assert answer.status == 413
    assert exceptions == []


# --- time for the body ------------------------------------------------------------------------


@pytest.mark.parametrize("path", READERS)
async def test_a_body_that_stops_is_408(limited, caplog, path):
    exchange = limited(CHUNK_TIMEOUT=0.05).post(f"/{path}/", b"half", more_body=True)
    answer = await exchange
    assert (answer.status, answer.text) == (408, "Request Timeout")
    assert answer.headers("connection") == ["close"]
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert "4 bytes had" in record.getMessage()


async def test_a_body_that_drips_is_408(limited):
    """Each piece comes in time, but all of it does not."""
    exchange = limited(CHUNK_TIMEOUT=60, BODY_TIMEOUT=0.1).post("/reads-async/", [])
    exchange.start()
    while not exchange.messages:
        exchange.feed(b"x", more_body=True)
        await asyncio.sleep(0.01)
    assert (await exchange).status == 408


async def test_time_in_which_nobody_reads_does_not_count(limited):
    async def reads_slowly(request):
        size = 0
        async for piece in request:
            await asyncio.sleep(0.05)
            size += len(piece)
        return HttpResponse(str(size))

    project = limited(CHUNK_TIMEOUT=60, BODY_TIMEOUT=0.1)
    project.configure(ROOT_URLCONF=(path("slowly/", reads_slowly),))
    answer = await project.post("/slowly/", [b"x" * 70_000] * 4)
    assert answer.text == "280000"


async def test_a_view_may_give_more_time(limited):
    exchange = limited(CHUNK_TIMEOUT=0.01).post("/may-be-long/", [])
    exchange.feed(b"half", more_body=True)
    exchange.start()
    await asyncio.sleep(0.1)
    exchange.feed(b"half", more_body=False)
    assert (await exchange).text == "8"


# --- the mark ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_body": -1},
        {"body_timeout": 0},
        {"chunk_timeout": -1},
        {"request_timeout": -1},
        {"request_timeout": float("nan")},
    ],
)
def test_a_limit_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        onloop.limits(**wrong)


@pytest.mark.parametrize(
    ("wrong", "wanted"),
    [
        ({"max_body": "10"}, "max_body is a whole number of bytes, not '10'"),
        ({"max_body": 1.5}, "max_body is a whole number of bytes, not 1.5"),
        ({"max_body": True}, "max_body is a whole number of bytes, not True"),
        ({"chunk_timeout": "1"}, "chunk_timeout is a number of seconds, not '1'"),
    ],
)
def test_a_limit_that_is_no_number_is_refused(wrong, wanted):
    with pytest.raises(TypeError, match=wanted):
        onloop.limits(**wrong)


def test_a_class_is_told_where_the_mark_belongs():
    with pytest.raises(TypeError, match=r'@method_decorator\(onloop\.limits\(.+"dispatch"'):

        @onloop.limits(max_body=1)
        class Upload(View): ...


def test_what_is_no_view_takes_no_mark():
    with pytest.raises(TypeError, match=r"takes a view, not 'myproject\.views\.upload'"):
        onloop.limits(max_body=1)("myproject.views.upload")


def test_marks_add_up():
    def view(request): ...

    onloop.limits(max_body=1)(onloop.limits(max_body=2, chunk_timeout=3)(view))
    assert view.onloop_limits == {"max_body": 1, "chunk_timeout": 3}
