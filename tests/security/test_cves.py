"""Holes that Django has mended in what Onloop replaces or feeds: none of them is open again."""

from __future__ import annotations

import json
from functools import partial

import pytest
from django.http import HttpResponse, JsonResponse
from django.urls import path

import onloop
from tests.asgi.client import Exchange
from tests.security.attacker import FORM, Attack, endless, memory, multipart

KIB, MIB = 2**10, 2**20


async def tells_headers(request):
    return JsonResponse(dict(request.headers))


async def body(request):
    return HttpResponse(str(len(request.body)))


def body_in_thread(request):
    return HttpResponse(str(len(request.body)))


async def form(request):
    files = await request.afiles()
    return JsonResponse({name: [type(f).__name__, f.size] for name, f in files.items()})


urlpatterns = [
    path("headers/", tells_headers),
    path("body/", body),
    path("body-in-thread/", body_in_thread),
    path("body-on-loop/", onloop.on_loop(partial(body_in_thread))),
    path("form/", form),
]


# --- CVE-2025-14550: one header, many times ---------------------------------------------------


class Value(bytes):
    """A header's value that counts how often it is added to something."""

    added = 0

    def decode(self, *args):
        return Text(super().decode(*args))


class Text(str):
    def __add__(self, other):
        Value.added += 1
        return Text(super().__add__(other))

    def __radd__(self, other):
        Value.added += 1
        return Text(other + str(self))


async def test_a_header_that_is_sent_many_times_is_joined_once(application):
    Value.added = 0
    headers = [(b"x-many", Value(b"v")) for _ in range(10_000)]
    attack = await Attack(application(), "/headers/", headers=headers, length=0).run()
    assert json.loads(attack.text)["X-Many"] == ",".join(["v"] * 10_000)
    assert Value.added == 0


# --- CVE-2026-3902: underscores for hyphens ---------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"x_forwarded_user", b"x-forwarded_user", b"x_forwarded-user"]
)
async def test_a_header_with_underscores_passes_for_no_other(application, name):
    headers = [(name, b"admin"), (b"x-real", b"here")]
    attack = await Attack(application(), "/headers/", headers=headers, length=0).run()
    seen = json.loads(attack.text)
    assert seen["X-Real"] == "here"
    assert "X-Forwarded-User" not in seen


# --- CVE-2026-33034: a body in memory, without an honest length -------------------------------


@pytest.mark.parametrize("path", ["body", "body-in-thread", "body-on-loop"])
@pytest.mark.parametrize("length", [None, 10, "-1", "x"])
async def test_a_body_without_an_honest_length_stays_below_the_limit(application, path, length):
    limit = 4 * MIB
    app = application(DATA_UPLOAD_MAX_MEMORY_SIZE=limit, ONLOOP={"MAX_BODY": 1000 * MIB})
    await Attack(app, f"/{path}/", endless(b"x" * limit, 2)).run()  # what is made only once
    attack = Attack(app, f"/{path}/", endless(b"x" * 64 * KIB, 800), length=length)
    with memory() as used:
        await attack.run()
    assert attack.status == 400
    assert used.most < limit + MIB
    assert attack.taken < limit + MIB


# --- CVE-2026-33033: base64 with blanks -------------------------------------------------------


async def test_blanks_in_base64_are_not_copied_again_and_again(
    application, uploads, monkeypatch
):
    from django.http.multipartparser import LazyStream

    put_back = 0
    unget = LazyStream.unget

    def counting(self, data):
        nonlocal put_back
        put_back += len(data)
        unget(self, data)

    monkeypatch.setattr(LazyStream, "unget", counting)
    head = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n"
    )
    size = 4 * MIB

    def pieces():
        yield head + b"QUJD"
        for _ in range(size // (64 * KIB)):
            yield b" " * 64 * KIB
        yield b"QQ==\r\n--b--\r\n"

    length = len(head) + 4 + size + len(b"QQ==\r\n--b--\r\n")
    attack = await Attack(application(), "/form/", pieces, length=length, headers=FORM).run()
    assert json.loads(attack.text) == {"f": ["TemporaryUploadedFile", 4]}
    assert put_back < 4 * size


# --- CVE-2026-5766: a file in memory, without an honest length --------------------------------


async def test_a_file_without_a_length_goes_to_the_disk(application, uploads):
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    count = 400

    def pieces():
        yield part
        for _ in range(count):
            yield b"x" * 64 * KIB
        yield b"\r\n--b--\r\n"

    app = application(FILE_UPLOAD_MAX_MEMORY_SIZE=MIB)
    exchange = Attack(app, "/form/", pieces, headers=FORM)
    with memory() as used:
        await exchange.run()
    assert json.loads(exchange.text) == {"f": ["TemporaryUploadedFile", count * 64 * KIB]}
    assert used.most < MIB + MIB


async def test_a_file_that_is_longer_than_was_said_is_400(application, uploads):
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    app = application(FILE_UPLOAD_MAX_MEMORY_SIZE=MIB)
    attack = Attack(
        app, "/form/", multipart(b"x" * 64 * KIB, 400, part), length=100, headers=FORM
    )
    with memory() as used:
        await attack.run()
    assert attack.status == 400
    assert used.most < 2 * MIB


async def test_djangos_form_of_the_exchange_is_the_same(application, uploads):
    """A short file with an honest length stays in memory, as ever."""
    content = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--'
    answer = await Exchange(
        application(), "/form/", method="POST", body=[content[:9], content[9:]],
        headers=[("content-type", "multipart/form-data; boundary=b")],
    )  # fmt: skip
    assert answer.json() == {"f": ["InMemoryUploadedFile", 1]}
