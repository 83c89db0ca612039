"""What clients should not send, and what servers should not ask."""

from __future__ import annotations

import asyncio

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, JsonResponse
from django.urls import path

from onloop.asgi.client import WATCH_AFTER_S
from onloop.asgi.errors import InvalidMessage, InvalidScope
from tests.asgi.client import Exchange


async def echo(request, rest=""):
    return JsonResponse({
        "path": request.path, "query": request.GET.dict(), "rest": rest,
        "cookies": request.COOKIES, "post": request.POST.dict(),
    })  # fmt: skip


async def body(request):
    return HttpResponse(str(len(request.body)))


async def header(request):
    return HttpResponse(repr(request.headers["x-odd"]))


async def malformed_json(request):
    import json

    try:
        return JsonResponse(json.loads(request.body))
    except ValueError as exc:
        return JsonResponse({"error": str(exc)}, status=400)


async def waits(request):
    await asyncio.sleep(3 * WATCH_AFTER_S)
    return HttpResponse("waited")


urlpatterns = [
    path("waits/", waits),
    path("echo/", echo),
    path("echo/<path:rest>", echo),
    path("body/", body),
    path("header/", header),
    path("malformed-json/", malformed_json),
    path("int/<int:number>/", echo),
]


@pytest.fixture
def project(bare_project):
    """Without middleware and without a database: nothing here needs either."""
    bare_project.configure(MIDDLEWARE=[])
    return bare_project


def request(path="/echo/", method="GET", **kwargs):
    return pytest.param({"path": path, "method": method, **kwargs})


def form(content_type, body):
    return request(method="POST", body=body, headers=[("content-type", content_type)])


ODD = {
    "percent sign in the path": request("/echo/%zz"),
    "surrogate in the path": request("/echo/\udcff"),
    "null in the path": request("/echo/\x00"),
    "long path": request("/echo/" + "a" * 100_000),
    "two slashes": request("//echo/"),
    "path that is not ASCII": request("/ü/"),
    "percent sign in the query": request(query=b"a=%zz"),
    "percent-encoded query that is not UTF-8": request(query=b"a=%ff"),
    "query that is not UTF-8": request(query=b"a=\xff\xfe"),
    "query of separators": request(query=b"&&&="),
    "null in the query": request(query=b"%00=%00"),
    "header that is not ASCII": request(raw_headers=[(b"x-odd", b"\xff\xe9")]),
    "odd cookies": request(raw_headers=[(b"cookie", b'good=1; =2; bad; "q=2; x=\xff')]),
    "two hosts": request(headers=[("host", "nobody.example")]),
    "unknown method": request(method="BREW"),
    "lower-case method": request(method="get"),
    "no method": request(method=""),
    "number that is none": request("/int/x/"),
    "negative number": request("/int/-1/"),
    "Arabic digits": request("/int/٣/"),
    "endless number": request("/int/" + "9" * 5_000 + "/"),
    "body of the wrong boundary": form("multipart/form-data; boundary=b", b"--c\r\nno"),
    "part that breaks off": form("multipart/form-data; boundary=b", b"--b\r\nContent-Dis"),
    "no boundary": form("multipart/form-data", b"--b\r\n"),
    "long boundary": form("multipart/form-data; boundary=" + "b" * 300, b"--b\r\n"),
    "unknown charset": form("application/x-www-form-urlencoded; charset=nonsense", b"a=1"),
    "no content type": form("; =;=", b"a=1"),
    "form that is not UTF-8": form("application/x-www-form-urlencoded", b"a=\xff&%ff"),
    "body over the limit": request("/body/", "POST", body=b"x" * 1_001),
    "body over the limit in pieces": request("/body/", "POST", body=[b"x" * 100] * 11),
    "body at the limit": request("/body/", "POST", body=b"x" * 1_000),
    "too many fields": form("application/x-www-form-urlencoded", b"a=1&b=2&c=3&d=4"),
    "negative length": request("/body/", "POST", raw_headers=[(b"content-length", b"-1")]),
    "length that is a lie": request(
        "/body/", "POST", raw_headers=[(b"content-length", b"9999")]
    ),
    "malformed JSON": request("/malformed-json/", "POST", body=b"{"),
    "JSON that is not UTF-8": request("/malformed-json/", "POST", body=b"\xff"),
    "deep JSON": request("/malformed-json/", "POST", body=b"[" * 900),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_what_is_odd_gets_djangos_own_answer(project, odd):
    project.configure(DATA_UPLOAD_MAX_MEMORY_SIZE=1_000, DATA_UPLOAD_MAX_NUMBER_FIELDS=3)
    ours = await Exchange(project.application, **odd)
    djangos = await Exchange(ASGIHandler(), **odd)
    assert (ours.status, ours.content) == (djangos.status, djangos.content)


async def test_header_bytes_that_are_not_ascii_are_latin_1(project):
    answer = await project.get("/header/", raw_headers=[(b"x-odd", b"\xff\xe9")])
    assert answer.text == repr("\xff\xe9")


@pytest.mark.parametrize("host", [b"nobody.example", b"a b", b"", b"\xff"])
async def test_a_host_that_is_not_allowed_is_400(project, host):
    project.configure(MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
    exchange = project.get("/echo/")
    exchange.scope["headers"] = [(b"host", host)]
    answer = await exchange
    assert answer.status == 400


async def test_a_body_over_the_limit_is_400(project):
    project.configure(DATA_UPLOAD_MAX_MEMORY_SIZE=10)
    answer = await project.post("/body/", b"x" * 11)
    assert answer.status == 400


async def test_a_query_that_is_not_utf_8_is_400(project):
    answer = await project.get("/echo/", query=b"a=\xff\xfe")
    assert answer.status == 400


# --- the server -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websocket", "mqtt"])
async def test_what_is_not_http_is_refused_with_a_hint(project, kind):
    with pytest.raises(ValueError, match=f"not {kind}.*ProtocolTypeRouter"):
        await project.application({"type": kind}, None, None)


async def test_messages_without_a_body_are_an_empty_body(project):
    exchange = project.post("/body/", [])
    exchange.feed_message({"type": "http.request"})
    answer = await exchange
    assert answer.text == "0"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.body"},
        {"type": "http.request", "body": "text"},
        {"type": "http.request", "body": None},
        {"body": b"x"},
        None,
    ],
    ids=str,
)
async def test_a_message_that_has_no_place_here_is_named(project, message):
    exchange = project.post("/body/", [])
    exchange.feed_message(message)
    with pytest.raises(InvalidMessage, match=r"The server sent .*http\.request.*fault of the"):
        await exchange
    assert exchange.messages == []


async def test_a_message_that_has_no_place_in_a_body_is_500(project, caplog):
    exchange = project.post("/body/", b"x", more_body=True)
    exchange.feed_message({"type": "websocket.receive", "bytes": b"y"})
    answer = await exchange
    assert answer.status == 500
    assert "The server sent {'type': 'websocket.receive'" in caplog.text


async def test_bytes_of_any_kind_are_a_body(project):
    exchange = project.post("/body/", [])
    for piece in (bytearray(b"12"), memoryview(b"345")):
        exchange.feed(piece, more_body=True)
    exchange.feed(bytearray(b"6"), more_body=False)
    assert (await exchange).text == "6"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"method": None}, r"'method' is None"),
        ({"headers": [("host", "testserver")]}, r"a header is \('host', 'testserver'\)"),
        ({"headers": None}, r"'headers' are None"),
        ({"client": ("::1",)}, r"'client' is \('::1',\)"),
    ],
)
async def test_a_scope_that_is_wrong_is_named(project, wrong, named):
    exchange = project.post("/body/", b"x")
    exchange.scope.update(wrong)
    with pytest.raises(InvalidScope, match=named):
        await exchange


async def test_a_scope_without_a_path_is_named(project):
    exchange = project.get("/body/")
    del exchange.scope["path"]
    with pytest.raises(InvalidScope, match="there is no 'path'"):
        await exchange


async def test_a_scope_without_headers_has_none(project):
    exchange = project.post("/body/", [b"x", b"y"])
    del exchange.scope["headers"]
    assert (await exchange).text == "2"


async def test_a_mistake_of_the_projects_own_is_not_the_servers(project):
    """It comes through where the settings want that, and nothing else is said of it."""
    project.configure(DEBUG_PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(KeyError, match="x-odd"):
        await project.get("/header/")


# --- the length of a body ---------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[b"0123456789"], [b"01234", b"56789"]], ids=len)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-length", b"9")], 400),
        ([(b"content-length", b"0")], 400),
        ([(b"content-length", b"9" * 5_000)], 413),
        ([(b"content-length", b"10"), (b"content-length", b"10")], 200),
        ([(b"content-length", b"10"), (b"content-length", b"9")], 200),
        ([(b"content-length", b"9"), (b"transfer-encoding", b"chunked")], 200),
        ([(b"content-length", b"ten")], 200),
        ([(b"content-length", b"\xb2")], 200),  # a digit to Python
        ([], 200),
    ],
)
async def test_a_length_means_the_same_however_the_body_comes(project, pieces, headers, status):
    exchange = project.post("/body/", pieces)
    exchange.scope["headers"] = [(b"host", b"testserver"), *headers]
    answer = await exchange
    assert answer.status == status
    if status == 200:
        assert answer.text == "10"


@pytest.mark.parametrize(
    "kind", [b"text/plain; charset*=no-such''x", b"text/plain; charset*=\0''x"]
)
async def test_a_content_type_that_cannot_be_read_is_400(project, kind):
    answer = await project.get("/echo/", raw_headers=[(b"content-type", kind)])
    assert answer.status == 400


# --- a server that has everything at hand -----------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"x" * 2**16], ids=["empty pieces", "refused pieces"])
async def test_pieces_without_end_that_never_wait_leave_others_their_turn(
    project, body, monkeypatch
):
    monkeypatch.setattr("onloop.asgi.incoming.LINGER_S", 0.01)
    project.configure(ONLOOP={"CHUNK_TIMEOUT": 0.05, "MAX_BODY": 1_000})
    exchange = project.post("/body/", [])

    async def receive():
        return {"type": "http.request", "body": body, "more_body": True}

    exchange._receive = receive
    answer = await exchange
    assert answer.status == (413 if body else 408)


@pytest.mark.parametrize("message", ["http.request", "http.disconnected"])
async def test_messages_after_the_body_that_never_wait_leave_others_their_turn(
    project, message
):
    exchange = project.get("/waits/", body=[])
    exchange.feed(b"", more_body=False)
    first = exchange._receive

    async def receive():
        return {"type": message} if exchange._incoming.empty() else await first()

    exchange._receive = receive
    assert (await exchange).text == "waited"
