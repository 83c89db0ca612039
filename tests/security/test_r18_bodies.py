"""R18, its first half: bodies of 10 GB, false lengths, one byte a second, headers.

The answer is 400, 408 or 413, memory stays within the limit and 1 MiB, and work is linear. The
short form sends 30 MiB and waits for tenths of a second; the bodies are made as they are taken,
and no disk is filled. That work is linear is shown by counts of calls; the full form judges the
time as well. `test_r18_parts.py` has what forms are made of.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

import pytest
from django.http import HttpResponse
from django.urls import path

import onloop
from onloop.asgi import client, handler, incoming
from onloop.asgi.incoming import Incoming
from tests.reliability.findings import Found
from tests.reliability.scale import LONG_S, size
from tests.security.attacker import FORM, Attack, endless, multipart
from tests.security.siege import KIB, MIB, Siege

pytestmark = pytest.mark.timeout(LONG_S)

BODY = size(30 * MIB, full=10_000 * MIB)
PIECE = b"x" * 64 * KIB
COUNT = BODY // len(PIECE)
READERS = ["/hashes/", "/hashes-reads/", "/form/"]


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
    return HttpResponse(str(len(await request.afiles())))


async def refuses(request):
    return HttpResponse("no", status=403)


async def waits(request):
    """For something else than its client, who goes on sending."""
    await asyncio.sleep(2 * client.WATCH_AFTER_S)
    for _ in range(200):
        await asyncio.sleep(0)
    return HttpResponse("done")


async def headers(request):
    return HttpResponse(str(len(request.headers)))


urlpatterns = [
    path("hashes/", hashes),
    path("hashes-reads/", onloop.on_loop(hashes_reads)),
    path("form/", form),
    path("refuses/", refuses),
    path("waits/", waits),
    path("headers/", headers),
]


@pytest.fixture
def siege(application, uploads, request):
    """`await siege(**limits)`: an application that has made what it makes only once."""

    async def make(**limits):
        app = application(ONLOOP=limits)
        for address in [*READERS, "/waits/"]:
            await Attack(app, address, endless(b"x", 3)).run()
            await Attack(app, address, endless(b"x", 3), length=-1, headers=FORM).run()
            await Attack(app, address, endless(b"x", 3), length=1, headers=FORM).run()
        return Siege(request.node.name, app)

    return make


# --- long ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/hashes/", "/hashes-reads/"])
async def test_a_body_of_any_length_takes_no_memory(siege, address):
    siege = await siege(MAX_BODY=2 * BODY)
    attack = Attack(siege.application, address, endless(PIECE, COUNT))
    await siege.run("long body", attack, statuses=[200])
    whole = hashlib.sha256()
    for _ in range(COUNT):
        whole.update(PIECE)
    if attack.text != whole.hexdigest():
        siege.findings.add("wrong bytes", attack.text)
    siege.judge()


async def beyond_the_limit(siege, count=COUNT):
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    for address in READERS:
        for length in (None, BODY, "9" * 30):
            body = multipart(PIECE, count, part)
            attack = Attack(siege.application, address, body, length=length, headers=FORM)
            await siege.run(
                f"{address} of {length or 'unknown'!s:.12} bytes", attack,
                statuses=[413], keeps=MIB, takes=2 * MIB,
            )  # fmt: skip
    siege.judge()


async def test_beyond_the_limit_nothing_more_is_taken(siege):
    await beyond_the_limit(await siege(MAX_BODY=MIB))


async def not_wanted(siege):
    for address, status in (("/refuses/", 403), ("/waits/", 200)):
        attack = Attack(siege.application, address, endless(PIECE, COUNT))
        await siege.run(address, attack, statuses=[status], takes=MIB)
    siege.judge()


async def test_a_body_that_nobody_wants_is_not_taken(siege):
    await not_wanted(await siege(MAX_BODY=2 * BODY))


# --- false lengths ----------------------------------------------------------------------------


async def test_more_than_was_said_is_400(siege):
    siege = await siege()
    for address in READERS:
        for pieces in (endless(PIECE, COUNT), endless(b"x" * 1_001, 1)):
            attack = Attack(siege.application, address, pieces, length=1_000, headers=FORM)
            await siege.run(address, attack, statuses=[400], takes=MIB)
    siege.judge()


async def test_less_than_was_said_is_408(siege):
    siege = await siege(CHUNK_TIMEOUT=0.05)
    for address in READERS:
        attack = Attack(
            siege.application, address, endless(b"x" * 1_000, 3),
            length=1_000_000, headers=FORM, stalls=True,
        )  # fmt: skip
        await siege.run(address, attack, statuses=[408])
    siege.judge()


class Slow(Attack):
    """A byte a second; in the short form one after a fiftieth of that."""

    PAUSE_S = size(2, full=100) / 100

    async def _receive(self):
        await asyncio.sleep(self.PAUSE_S)
        return await super()._receive()


async def one_by_one(siege):
    attack = Slow(siege.application, "/hashes/", endless(b"x", 500))
    await siege.run("one byte at a time", attack, statuses=[408], takes=100)
    siege.judge()


async def test_one_byte_a_second_is_408(siege):
    """Each of them comes in time, all together do not."""
    await one_by_one(await siege(CHUNK_TIMEOUT=60, BODY_TIMEOUT=size(1, full=600) / 10))


async def test_bytes_one_by_one_take_no_memory(siege):
    siege = await siege()
    count = size(4_000, full=1_000_000)
    attack = Attack(siege.application, "/hashes/", endless(b"xy", count))
    await siege.run("two bytes at a time", attack, statuses=[200])
    await siege.grows(
        "two bytes at a time",
        lambda many: Attack(siege.application, "/hashes/", endless(b"xy", many)),
        count // 10,
    )
    siege.judge()


# --- many headers -----------------------------------------------------------------------------

HEADERS = size(2_500, full=25_000)
MANY = {
    "different headers": lambda count: [(b"x-%d" % number, b"v") for number in range(count)],
    "one header": lambda count: [(b"x-many", b"v")] * count,
    "cookies": lambda count: [(b"cookie", b"a=b")] * count,
    "lengths": lambda count: [(b"content-length", b"%d" % number) for number in range(count)],
    "headers with underscores": lambda count: [(b"x_%d" % n, b"v") for n in range(count)],
}


async def many_headers(siege):
    """Four times as many are 10,000; in the full form 100,000."""
    for name, make in MANY.items():
        await siege.grows(
            name,
            lambda count, make=make: Attack(
                siege.application, "/headers/", headers=make(count), length=0
            ),
            HEADERS,
        )
    siege.judge()


async def test_a_hundred_thousand_headers_are_read_in_linear_work(siege):
    await many_headers(await siege())


# --- the harness finds what is broken on purpose ----------------------------------------------


async def found(siege, harness, **limits):
    with pytest.raises(Found) as caught:
        await harness(await siege(**limits))
    return set(caught.value.kinds)


async def test_a_limit_that_does_not_hold_is_found(siege, monkeypatch):
    monkeypatch.setattr(Incoming, "check_size", lambda self: None)
    kinds = await found(siege, partial(beyond_the_limit, count=64), MAX_BODY=MIB)
    assert {"wrong answer", "taken beyond the limit"} <= kinds


async def test_reading_far_ahead_is_found(siege, monkeypatch):
    monkeypatch.setattr(incoming, "READ_AHEAD", 2**40)
    kinds = await found(siege, not_wanted, MAX_BODY=2 * BODY)
    assert kinds == {"taken beyond the limit", "memory"}


async def test_time_that_is_not_added_up_is_found(siege, monkeypatch):
    never = property(lambda self: -1000, lambda self, value: None)  # nor is one pause too long
    monkeypatch.setattr(Incoming, "_waited", never, raising=False)
    monkeypatch.setattr(Slow, "PAUSE_S", 0.001)
    kinds = await found(siege, one_by_one, CHUNK_TIMEOUT=60, BODY_TIMEOUT=0.1)
    assert "wrong answer" in kinds


async def test_work_that_is_not_linear_is_found(siege, monkeypatch):
    prefix = handler.get_script_prefix

    def careless(scope):
        for number in range(0, len(scope["headers"]), 250):
            for header in scope["headers"][:number]:
                len(header)
        return prefix(scope)

    monkeypatch.setattr(handler, "get_script_prefix", careless)
    assert "work is not linear" in await found(siege, many_headers)
