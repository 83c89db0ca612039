"""R22, its first half: 0 undocumented exceptions, whatever a server sends (hypothesis).

The full figure is 20,000 scopes and 20,000 sequences of messages; the short form takes 250 of
each. The answer is a valid sequence of messages, and where the request is an ordinary one it is
that of Django's own handler. What the specification forbids is an error that says so.
"""

from __future__ import annotations

import hashlib
import logging

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path, re_path
from hypothesis import strategies as st

import onloop
from onloop.asgi import client
from onloop.asgi.errors import InvalidMessage, InvalidScope
from onloop.asgi.handler import OnloopHandler
from onloop.asgi.incoming import Incoming
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security import scopes
from tests.security.fuzz import Played, search

pytestmark = [
    pytest.mark.timeout(LONG_S),
    # The body that Django's own handler, the oracle, leaves open where it raises.
    pytest.mark.filterwarnings(
        "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
    ),
]

EXAMPLES = size(250, full=20_000)
FEW = 60  # for a planted fault

# Those of Onloop and of Django that ask no database.
MIDDLEWARE = [
    "onloop.middleware.RequestTimingMiddleware",
    "onloop.middleware.JSONErrorMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


# --- views ------------------------------------------------------------------------------------


def tell(request, **more):
    return JsonResponse({
        "method": request.method,
        "path": [request.path, request.path_info],
        "query": dict(request.GET.lists()),
        "cookies": request.COOKIES,
        "headers": len(request.headers),
        "host": request.get_host(),
        "kind": [request.content_type, request.content_params, request.encoding],
        "from": [str(request.META.get(f"REMOTE_{what}")) for what in ("ADDR", "PORT")],
        **more,
    })  # fmt: skip


def digest(body):
    return [len(body), hashlib.sha256(body).hexdigest()]


async def nothing(request, **kwargs):
    return tell(request)


async def pieces(request):
    if isinstance(request, onloop.asgi.handler.OnloopRequest):
        return tell(request, body=digest(b"".join([piece async for piece in request])))
    return tell(request, body=digest(request.read()))


def body(request):
    return tell(request, body=digest(request.body))


async def form(request):
    return tell(request, form=dict(request.POST.lists()), files=len(request.FILES))


async def late(request):
    """The body when the client's leaving is watched already."""
    import asyncio

    for _ in range(3):
        await asyncio.sleep(0)
    return tell(request, body=digest(request.body))


READING = {"/body/", "/pieces/", "/thread/", "/late/"}
urlpatterns = [
    path("nothing/", nothing),
    path("pieces/", pieces),
    path("body/", onloop.on_loop(body)),
    path("thread/", body),
    path("form/", form),
    path("late/", late),
    re_path("^.{0,2}$", nothing),
]


@pytest.fixture
def handlers(monkeypatch):
    """Ours, and Django's own, with the same settings."""
    monkeypatch.setattr(client, "WATCH_AFTER_S", 0)
    monkeypatch.setattr("onloop.asgi.incoming.LINGER_S", 0.01)
    logging.disable(logging.CRITICAL)
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=MIDDLEWARE,
        ONLOOP={"JSON_ERRORS": ["/form"]},
    ):
        yield OnloopHandler(), ASGIHandler()
    logging.disable(logging.NOTSET)


# --- scopes -----------------------------------------------------------------------------------


def is_ordinary(scope, body):
    """Nothing is said of the length of the body, or the truth: Django and we agree."""
    headers = scope.get("headers", ())
    lengths = [value for name, value in headers if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in headers):
        return False
    return lengths in ([], [str(len(body)).encode()]) and (
        bool(lengths) or not body or scope["path"] != "/form/"
    )


class Scopes:
    """Plays requests of any scope to both handlers."""

    def __init__(self, handlers, findings):
        self.ours, self.djangos = handlers
        self.findings = findings

    async def check(self, scope, messages):
        ours = await Played(self.ours, scope, messages).run()
        if ours.raised is not None:
            return [f"exception: {ours.raised!r}"]
        faults = list(ours.faults)
        if ours.status is None:
            faults.append("no answer: the client was there")
        self.findings.counts[f"status {ours.status}"] += 1
        body = b"".join(message["body"] for message in messages)
        if not is_ordinary(scope, body):
            return faults
        djangos = await Played(self.djangos, scope, messages).run()
        if djangos.raised is not None:  # it lets through what the header Content-Type raises
            self.findings.counts["exceptions of Django's"] += 1
            if ours.status != 400:
                faults.append(f"not 400: {ours.status}, where Django raises")
        elif (ours.status, ours.content) != (djangos.status, djangos.content):
            faults.append(
                f"not Django's answer: {ours.status} {ours.content!r}, Django's is "
                f"{djangos.status} {djangos.content!r}"
            )
        else:
            self.findings.counts["the answer of Django's"] += 1
        return faults

    async def check_cuts(self, scope, messages):
        """A body that comes in pieces is the one that comes whole, whatever is said of it."""
        body = b"".join(message["body"] for message in messages)
        if not body:  # there is nothing to be cut up
            return []
        whole = [{"type": "http.request", "body": body}]
        one = await Played(self.ours, scope, whole).run()
        many = await Played(self.ours, scope, messages).run()
        self.findings.counts[f"status {one.status}"] += 1
        if (one.status, one.content) == (many.status, many.content):
            return [*one.faults, *many.faults]
        return [
            f"another answer: whole {one.status} {one.content!r}, in pieces {many.status} "
            f"{many.content!r}"
        ]

    async def check_forbidden(self, scope, messages):
        ours = await Played(self.ours, scope, messages).run()
        if ours.faults:
            return ours.faults
        if isinstance(ours.raised, InvalidScope):
            self.findings.counts["refused"] += 1
            return []
        if ours.raised is not None:
            return [f"exception that does not name the mistake: {ours.raised!r}"]
        self.findings.counts["answered all the same"] += 1
        return []


def search_scopes(handlers, examples=EXAMPLES, *, shrink=True):
    findings = Findings("R22, scopes")
    world = Scopes(handlers, findings)
    search(
        findings, world.check, scopes.scopes(), scopes.bodies(),
        examples=examples, shrink=shrink,
    )  # fmt: skip
    findings.judge()
    return findings


def test_any_scope_gets_an_answer_and_an_ordinary_one_that_of_django(handlers):
    findings = search_scopes(handlers)
    assert findings.counts["the answer of Django's"] > EXAMPLES // 4


def search_cuts(handlers, examples=EXAMPLES, *, shrink=True):
    findings = Findings("R22, cuts")
    world = Scopes(handlers, findings)
    search(
        findings, world.check_cuts, scopes.framed(), scopes.bodies(),
        examples=examples, shrink=shrink,
    )  # fmt: skip
    findings.judge()
    return findings


def test_it_does_not_matter_how_a_body_is_cut_up(handlers):
    findings = search_cuts(handlers)
    assert findings.counts["status 400"] > EXAMPLES // 20


def test_a_scope_that_is_forbidden_is_named(handlers):
    findings = Findings("R22, forbidden scopes")
    world = Scopes(handlers, findings)
    search(
        findings, world.check_forbidden, scopes.forbidden_scopes(), scopes.bodies(),
        examples=EXAMPLES // 2,
    )  # fmt: skip
    findings.judge()
    assert findings.counts["refused"] > findings.counts["answered all the same"]


# --- messages ---------------------------------------------------------------------------------


def kind_of(message):
    """ "left", "more", "last", or "forbidden"."""
    if not isinstance(message, dict):
        return "forbidden"
    if message.get("type") == "http.disconnect":
        return "left"
    body = message.get("body", b"")
    if message.get("type") != "http.request" or not isinstance(
        body, bytes | bytearray | memoryview
    ):
        return "forbidden"
    return "more" if message.get("more_body") else "last"


def body_of(messages):
    """What the messages amount to: how the body ends, and the whole body."""
    body = b""
    for message in messages:
        kind = kind_of(message)
        if kind in ("left", "forbidden"):
            return kind, body
        body += bytes(message.get("body", b""))
        if kind == "last":
            return "last", body
    return "left", body


class Messages:
    """Plays any sequence of messages."""

    def __init__(self, handlers, findings):
        self.ours, self.djangos = handlers
        self.findings = findings

    async def check(self, address, messages):
        scope = {**scopes.BASE, "path": address}
        ours = await Played(self.ours, scope, messages).run()
        faults = list(ours.faults)
        end, body = body_of(messages)
        self.findings.counts[f"body that ends: {end}"] += 1
        first = kind_of(messages[0])
        if first in ("left", "forbidden"):
            named = isinstance(ours.raised, InvalidMessage)
            if ours.status is not None or named != (first == "forbidden"):
                faults.append(f"at first {first}: {ours.status}, {ours.raised!r}")
        elif ours.raised is not None:
            faults.append(f"exception: {ours.raised!r}")
        elif end == "forbidden" and address in READING and ours.status != 500:
            faults.append(f"forbidden message in a body that is read: {ours.status}")
        elif end == "left" and address in READING and ours.status not in (None, 400):
            faults.append(f"client left, and is answered: {ours.status} {ours.content!r}")
        elif ours.status is None and not ours.left:
            faults.append("no answer: the client was there")
        elif end == "last" and ours.complete:
            whole = [{"type": "http.request", "body": body}]
            djangos = await Played(self.djangos, scope, whole).run()
            if (ours.status, ours.content) != (djangos.status, djangos.content):
                faults.append(f"not Django's answer: {ours.status} {ours.content!r}")
        return faults


ADDRESSES = st.sampled_from([*sorted(READING), "/nothing/"])


def search_messages(handlers, examples=EXAMPLES, *, shrink=True):
    findings = Findings("R22, messages")
    world = Messages(handlers, findings)
    search(findings, world.check, ADDRESSES, scopes.messages, examples=examples, shrink=shrink)
    findings.judge()
    return findings


def test_any_messages_get_an_answer_or_an_error_that_names_them(handlers):
    findings = search_messages(handlers)
    for end in ("last", "left", "forbidden"):
        assert findings.counts[f"body that ends: {end}"] > EXAMPLES // 20


# --- the harness finds what is broken on purpose ----------------------------------------------


def test_a_request_that_cannot_be_made_is_found(handlers, monkeypatch):
    monkeypatch.delattr(OnloopHandler, "create_request")
    with pytest.raises(Found) as caught:
        search_scopes(handlers, EXAMPLES, shrink=False)
    assert "exception" in caught.value.kinds


def test_an_answer_that_is_not_djangos_is_found(handlers, monkeypatch):
    broken = HttpResponse("")
    monkeypatch.setattr(OnloopHandler, "get_response", lambda self, request: broken)
    with pytest.raises(Found) as caught:
        search_scopes(handlers, FEW, shrink=False)
    assert "not Django's answer" in caught.value.kinds


def test_a_length_that_is_believed_if_the_body_is_whole_is_found(handlers, monkeypatch):
    monkeypatch.setattr("onloop.asgi.request._is_reliable", lambda length, meta: True)
    with pytest.raises(Found) as caught:
        search_cuts(handlers, EXAMPLES, shrink=False)
    assert "another answer" in caught.value.kinds


def test_a_piece_that_is_dropped_is_found(handlers, monkeypatch):
    keep = Incoming._keep
    monkeypatch.setattr(Incoming, "_keep", lambda self, piece: keep(self, piece[:3]))
    with pytest.raises(Found) as caught:
        search_messages(handlers, FEW, shrink=False)
    assert "not Django's answer" in caught.value.kinds


def test_a_message_that_nobody_looks_at_is_found(handlers, monkeypatch):
    monkeypatch.setattr("onloop.asgi.handler.piece_of", lambda message: message["body"])
    with pytest.raises(Found) as caught:
        search_messages(handlers, FEW, shrink=False)
    assert {"exception", "at first left", "at first forbidden"} & set(caught.value.kinds)
