"""What clients should not send, and what servers should not ask."""

from __future__ import annotations

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, JsonResponse
from django.urls import path

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


urlpatterns = [
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
    "length that is none": request("/body/", "POST", raw_headers=[(b"content-length", b"x")]),
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
