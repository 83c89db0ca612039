"""R18: false lengths, 10 GB, 10,000 parts, base64 parts, 100,000 headers, one byte a second.

The answer is 400, 408 or 413, and memory stays within the limit and 1 MB. The short form sends
100 MB and waits for tenths of seconds. That the work is linear is shown by counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys

import pytest
from django.http import HttpResponse, JsonResponse
from django.urls import path

import onloop
from tests.reliability.findings import Findings
from tests.reliability.scale import LONG_S, size
from tests.security.attacker import FORM, Attack, endless, memory, multipart

pytestmark = pytest.mark.timeout(LONG_S)

KIB, MIB = 2**10, 2**20
BODY = size(100 * MIB, full=10_000 * MIB)
PIECE = b"x" * 64 * KIB
COUNT = BODY // len(PIECE)


async def hashes(request):
    sha = hashlib.sha256()
    async for piece in request:
        sha.update(piece)
    return HttpResponse(sha.hexdigest())


def hashes_reads(request):
    sha = hashlib.sha256()
    while piece := request.read(64 * KIB):
        sha.update(piece)
    return HttpResponse(sha.hexdigest())


async def form(request):
    files = await request.afiles()
    return JsonResponse({
        "fields": len(request.POST), "files": {name: f.size for name, f in files.items()}
    })  # fmt: skip


async def refuses(request):
    return HttpResponse("no", status=403)


async def headers(request):
    return HttpResponse(str(len(request.headers)))


urlpatterns = [
    path("hashes/", hashes),
    path("hashes-reads/", onloop.on_loop(hashes_reads)),
    path("form/", form),
    path("refuses/", refuses),
    path("headers/", headers),
]


@pytest.fixture
def warm(application):
    """The same, after it has made what it makes only once."""

    async def make(**settings):
        app = application(**settings)
        for address in ("/hashes/", "/hashes-reads/", "/form/"):
            await Attack(app, address, endless(b"x", 3)).run()
            await Attack(app, address, endless(b"x", 3), length=-1, headers=FORM).run()
        return app

    return make


def hash_of_all():
    sha = hashlib.sha256()
    for _ in range(COUNT):
        sha.update(PIECE)
    return sha.hexdigest()


def judge(what, attack, used):
    """A body of any length takes no memory."""
    findings = Findings(f"R18, {what}")
    findings.counts["MB sent"] += attack.taken // 10**6
    findings.measured["more memory at most, KiB"] = used.most / KIB
    if used.most >= MIB:
        findings.add("more memory than 1 MiB", used.most)
    findings.judge()


def limits(**limits):
    return {"ONLOOP": limits}


# --- long ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/hashes/", "/hashes-reads/"])
async def test_a_body_of_any_length_takes_no_memory(warm, address):
    attack = Attack(await warm(**limits(MAX_BODY=2 * BODY)), address, endless(PIECE, COUNT))
    with memory() as used:
        await attack.run()
    assert attack.text == hash_of_all()
    judge("a body", attack, used)


@pytest.mark.parametrize("length", [None, BODY, "9" * 30])
@pytest.mark.parametrize("address", ["/hashes/", "/form/"])
async def test_beyond_the_limit_nothing_more_is_taken(warm, uploads, address, length):
    app = await warm(**limits(MAX_BODY=MIB))
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    attack = Attack(app, address, multipart(PIECE, COUNT, part), length=length, headers=FORM)
    with memory() as used:
        await attack.run()
    assert attack.status == 413
    assert attack.taken < 2 * MIB
    assert used.most < 2 * MIB


async def test_a_refused_upload_is_not_taken(warm):
    attack = await Attack(await warm(), "/refuses/", endless(PIECE, COUNT)).run()
    assert attack.status == 403
    assert attack.taken < MIB


async def test_a_file_of_any_length_takes_no_memory(warm, uploads):
    app = await warm(**limits(MAX_BODY=2 * BODY))
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'

    def pieces():
        yield part
        for _ in range(COUNT):
            yield PIECE
        yield b"\r\n--b--\r\n"

    length = len(part) + BODY + len(b"\r\n--b--\r\n")
    attack = Attack(app, "/form/", pieces, headers=FORM, length=length)
    with memory() as used:
        await attack.run()
    assert json.loads(attack.text)["files"] == {"f": BODY}
    judge("a file", attack, used)


# --- false lengths ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/hashes/", "/hashes-reads/", "/form/"])
async def test_more_than_was_said_is_400(warm, uploads, address):
    app = await warm()
    attack = await Attack(app, address, endless(PIECE, COUNT), length=1_000, headers=FORM).run()
    assert attack.status == 400
    assert attack.taken < MIB


@pytest.mark.parametrize("address", ["/hashes/", "/hashes-reads/", "/form/"])
async def test_less_than_was_said_is_408(warm, uploads, address):
    app = await warm(**limits(CHUNK_TIMEOUT=0.1))
    attack = Attack(
        app, address, endless(b"x" * 1_000, 3), length=1_000_000, headers=FORM, stalls=True
    )
    assert (await attack.run()).status == 408


async def test_one_byte_at_a_time_is_408(warm):
    """Ten bytes a second, and half a second in all."""
    app = await warm(**limits(CHUNK_TIMEOUT=60, BODY_TIMEOUT=0.5))

    class Slow(Attack):
        async def _receive(self):
            await asyncio.sleep(0.1)
            return await super()._receive()

    attack = Slow(app, "/hashes/", endless(b"x", 1_000_000))
    assert (await attack.run()).status == 408
    assert attack.taken < 100


async def test_bytes_one_by_one_take_no_memory(warm):
    """20,000 messages; what nobody reads yet is put together."""
    app = await warm()
    attack = Attack(app, "/hashes/", endless(b"xy", 20_000))
    with memory() as used:
        await attack.run()
    assert attack.status == 200
    assert used.most < MIB


# --- many parts -------------------------------------------------------------------------------

FIELD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nx\r\n'
NAMELESS = b"--b\r\n\r\nx\r\n"
BASE64 = (
    b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
)


@pytest.mark.parametrize(
    "part", [FIELD, FILE, NAMELESS, BASE64], ids=["field", "file", "no name", "base64"]
)
async def test_ten_thousand_parts_are_400(warm, uploads, part):
    app = await warm()
    attack = Attack(app, "/form/", multipart(part * 100, 100), headers=FORM)
    with memory() as used:
        await attack.run()
    assert attack.status == 400
    assert used.most < 3 * MIB


async def test_ten_thousand_fields_of_a_form_are_400(warm):
    app = await warm()
    kind = [(b"content-type", b"application/x-www-form-urlencoded")]
    attack = Attack(app, "/form/", endless(b"a=1&" * 100, 100), headers=kind)
    with memory() as used:
        await attack.run()
    assert attack.status == 400
    assert used.most < 3 * MIB


# --- many headers -----------------------------------------------------------------------------


async def test_a_hundred_thousand_headers_are_read_in_linear_work(warm):
    app = await warm()

    async def calls_for(count):
        many = [(b"x-%d" % number, b"v") for number in range(count)]
        attack = Attack(app, "/headers/", length=0, headers=many)
        calls = 0

        def count_calls(frame, event, arg):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count_calls)
        try:
            await attack.run()
        finally:
            sys.setprofile(None)
        assert attack.status == 200
        return calls

    few, many = await calls_for(10_000), await calls_for(100_000)
    assert many < 11 * few
