"""R22, its third part: whatever a view reads of a body, in any order, is what Django gives it.

The full figure is 20,000 orders of reading; the short form takes 300. Each step is judged by
Django's own `ASGIRequest` with the whole body at hand: the same value, or the same exception.
What Django has no word for is `async for chunk in request`, whose rule stands in `Djangos`.

Documented differences: a form in chunks is a form (Django's parser wants a length), and a body
in chunks that is too long is found out by reading.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.request import RawPostDataException
from django.test import override_settings
from django.urls import path
from hypothesis import strategies as st

import onloop
from onloop.asgi.handler import OnloopHandler
from onloop.asgi.request import OnloopRequest, Stream
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security.fuzz import Played, search
from tests.security.scopes import BASE, in_pieces

pytestmark = [
    pytest.mark.timeout(LONG_S),
    # A request whose encoding is changed forgets the files that it had, here as in Django.
    pytest.mark.filterwarnings(
        "ignore:.*(FileIO|FileCloser):pytest.PytestUnraisableExceptionWarning"
    ),
]

EXAMPLES = size(300, full=20_000)
FEW = 150  # for a planted fault
TOO_LONG = 400  # bytes; `DATA_UPLOAD_MAX_MEMORY_SIZE` here

FORM = b"multipart/form-data; boundary=b"
URLENCODED = b"application/x-www-form-urlencoded"
BODIES = [
    b"", b"x", b"a=1&b=2", b"a\nb\n\nc", b"\n" * 50, b"a=" + b"x" * 500,
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n',
    b"--c\r\nno", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n',
]  # fmt: skip

# Steps of synchronous code, and those that are awaited, with what they are for Django.
STEPS = {
    "body": lambda request: request.body,
    "POST": lambda request: sorted(request.POST.lists()),
    "FILES": lambda request: {name: file.size for name, file in request.FILES.items()},
    "read": lambda request: request.read(),
    "read none": lambda request: request.read(0),
    "read 3": lambda request: request.read(3),
    "read 1000": lambda request: request.read(1_000),
    "readline": lambda request: request.readline(),
    "readline 2": lambda request: request.readline(2),
    "lines": lambda request: request.readlines(),
    "first line": lambda request: next(iter(request), None),
    "latin-1": lambda request: setattr(request, "encoding", "latin-1"),
    "no handlers": lambda request: setattr(request, "upload_handlers", []),
}


async def iterate(request):
    return b"".join([piece async for piece in request])


AWAITED = {
    "abody": (lambda request: request.abody(), STEPS["body"]),
    "apost": (lambda request: _then(request.apost(), request, "POST"), STEPS["POST"]),
    "afiles": (lambda request: _then(request.afiles(), request, "FILES"), STEPS["FILES"]),
    "iterate": (iterate, lambda request: request.iterate()),
}


async def _then(awaitable, request, name):
    await awaitable
    return STEPS[name](request)


class Djangos(ASGIRequest):
    """Django's own, and what `async for` would be."""

    def iterate(self):
        if hasattr(self, "_body"):
            return self._body
        if self._read_started:
            raise RawPostDataException("You cannot iterate over the body ...")
        return self.read()


def outcome(function, request):
    try:
        return function(request)
    except Exception as exc:  # noqa: BLE001 - it is the outcome
        return told(exc)


def told(exc):
    text = str(exc) if isinstance(exc, AttributeError) else ""
    return f"{type(exc).__name__} {text}"


# --- views ------------------------------------------------------------------------------------

steps: list[str] = []
seen: list[object] = []


def synchronous(request):
    seen.extend(outcome(STEPS[step], request) for step in steps)
    return HttpResponse()


async def asynchronous(request):
    for step in steps:
        if step in AWAITED:
            try:
                seen.append(await AWAITED[step][0](request))
            except Exception as exc:  # noqa: BLE001 - it is the outcome
                seen.append(told(exc))
        else:
            seen.append(outcome(STEPS[step], request))
    return HttpResponse()


urlpatterns = [
    path("async/", asynchronous),
    path("thread/", synchronous),
    path("loop/", onloop.on_loop(synchronous)),
]


class Readers:
    def __init__(self, findings):
        self.ours = OnloopHandler()
        self.findings = findings

    async def check(self, address, kind, body, cuts, chunked, order, djangos):
        framing = (
            (b"transfer-encoding", b"chunked")
            if chunked
            else (b"content-length", str(len(body)).encode())
        )
        scope = {**BASE, "path": address}
        scope["headers"] = [*BASE["headers"], framing, (b"content-type", kind)]
        messages = in_pieces(body, [cut for cut in cuts if cut <= len(body)])
        seen.clear()
        steps[:] = order_for(address, order)
        ours = await Played(self.ours, scope, messages).run()
        faults = list(ours.faults)
        if ours.raised is not None or ours.status != 200:
            faults.append(f"exception: {ours.raised!r}, status {ours.status}")
        self.findings.counts["steps"] += len(steps)
        for number, (step, mine, theirs) in enumerate(zip(steps, seen, djangos, strict=False)):
            if chunked and "RequestDataTooBig" in str(theirs):
                break
            self.findings.counts["exceptions"] += bool(
                re.match(r"\w+(Error|Exception)", str(mine))
            )
            if mine != theirs:
                faults.append(
                    f"not as Django's: step {number}, {step}: {mine!r}, not {theirs!r}"
                )
                break
        return faults


def order_for(address, order):
    return order if address == "/async/" else [step for step in order if step in STEPS]


def by_django(address, kind, body, cuts, chunked, order):
    """What Django's request gives; with a length, which its parser wants."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    request = Djangos({**BASE, "headers": headers}, io.BytesIO(body))
    with contextlib.closing(request):
        return [
            outcome(AWAITED[step][1] if step in AWAITED else STEPS[step], request)
            for step in order_for(address, order)
        ]


@pytest.fixture
def search_orders(uploads):
    logging.disable(logging.CRITICAL)
    with override_settings(
        ROOT_URLCONF=__name__, MIDDLEWARE=[], DATA_UPLOAD_MAX_MEMORY_SIZE=TOO_LONG
    ):

        def run(examples=EXAMPLES, *, shrink=True):
            findings = Findings("R22, orders of reading")
            search(
                findings, Readers(findings).check,
                st.sampled_from(["/async/", "/async/", "/thread/", "/loop/"]),
                st.sampled_from([FORM, FORM, URLENCODED, b"text/plain"]),
                st.sampled_from(BODIES),
                st.lists(st.integers(0, 100), max_size=4).map(sorted),
                st.booleans(),
                st.lists(st.sampled_from([*STEPS, *AWAITED]), min_size=1, max_size=5),
                examples=examples, before=by_django, shrink=shrink,
            )  # fmt: skip
            findings.judge()
            return findings

        yield run
    logging.disable(logging.NOTSET)


def test_any_order_of_reading_gives_what_it_gives_in_django(search_orders):
    findings = search_orders()
    assert findings.counts["steps"] > EXAMPLES
    assert findings.counts["exceptions"] > EXAMPLES // 20


# --- the harness finds what is broken on purpose ----------------------------------------------


def kinds_found(search_orders):
    with pytest.raises(Found) as caught:
        search_orders(FEW, shrink=False)
    return set(caught.value.kinds)


def test_a_body_that_can_be_had_twice_is_found(search_orders, monkeypatch):
    """As if nobody noted that something was read."""
    never = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(OnloopRequest, "_read_started", never, raising=False)
    assert "not as Django's" in kinds_found(search_orders)


def test_a_line_that_is_cut_off_is_found(search_orders, monkeypatch):
    line = Stream._aread_line

    async def shorter(self, size=-1):
        return (await line(self, size))[:-1]

    monkeypatch.setattr(Stream, "_aread_line", shorter)
    assert "not as Django's" in kinds_found(search_orders)
