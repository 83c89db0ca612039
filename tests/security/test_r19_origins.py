"""R19: who may open a socket. Never let in wrongly, never an error of the server.

The oracle is Django's own check of `Origin` for CSRF, asked about the canonical form of the
same origin: whoever is let in must be one that it lets in.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket

import pytest
from channels.testing import WebsocketCommunicator
from django.middleware.csrf import CsrfViewMiddleware
from django.test import RequestFactory, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onloop.channels import StrictOriginMiddleware
from onloop.channels.origin import is_of_this_site
from tests.security.origins import ALLOWED_HOSTS, TABLE, TRUSTED, Handshake, to
from tests.servers import Serving

SETTINGS = {"ALLOWED_HOSTS": ALLOWED_HOSTS, "CSRF_TRUSTED_ORIGINS": TRUSTED}


@pytest.fixture(autouse=True)
def _site():
    with override_settings(**SETTINGS):
        yield


def asgi_scope(handshake, *more):
    names = [(b"host", value) for value in handshake.hosts]
    names += [(b"origin", value) for value in handshake.origins]
    return {
        "type": "websocket",
        "path": "/",
        "scheme": handshake.scheme,
        "headers": [*names, *more],
        "server": ("127.0.0.1", 8000),
    }


def django_lets_in(handshake):
    """Django's verdict on the same origin, written as a browser does."""
    if len(handshake.origins) != 1 or len(handshake.hosts) != 1:
        return False
    origin = handshake.origins[0].decode("latin1").lower()
    host = handshake.hosts[0].decode("latin1").lower()
    port = "443" if handshake.scheme == "wss" else "80"
    own = "443" if origin.startswith("https") else "80"
    request = RequestFactory().get(
        "/",
        secure=handshake.scheme == "wss",
        HTTP_ORIGIN=re.sub(f":0*{own}$", "", origin),
        HTTP_HOST=re.sub(f":0*{port}$", "", host),
    )
    return CsrfViewMiddleware(lambda request: None)._origin_verified(request)


def test_the_table_is_as_long_as_it_should_be():
    assert len(set(TABLE)) == len(TABLE) >= 60


@pytest.mark.parametrize("handshake", TABLE, ids=str)
def test_exactly_the_pages_of_this_site_are_let_in(handshake):
    assert is_of_this_site(asgi_scope(handshake)) is handshake.welcome
    if handshake.welcome:
        assert django_lets_in(handshake)


@pytest.mark.parametrize("handshake", TABLE, ids=str)
async def test_the_others_are_closed_before_they_reach_the_consumer(handshake):
    reached = []

    async def consumer(scope, receive, send):
        reached.append(scope)
        await receive()
        await send({"type": "websocket.accept"})

    client = WebsocketCommunicator(StrictOriginMiddleware(consumer), "/")
    client.scope.update(asgi_scope(handshake))
    accepted, code = await client.connect(timeout=90)
    await client.wait(90)
    assert (accepted, bool(reached)) == (handshake.welcome, handshake.welcome)
    if not accepted:
        assert code == 1008


PIECES = st.sampled_from([
    "http", "https", "ws", "://", ":", "/", "//", "[", "]", "::1", "@", ".", "*", ",", " ",
    "example.com", "EXAMPLE.COM", "evil.com", "a.friends.example", "partner.example", "null",
    "443", "80", "8443", "\x00", "\xe4", "#", "?", "\\", "%", "\t", "-",
])  # fmt: skip
LATIN = st.text(st.characters(max_codepoint=255), max_size=30)
TEXTS = st.one_of(st.lists(PIECES, max_size=7).map("".join), LATIN)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(host=st.one_of(st.just("example.com"), TEXTS), origin=TEXTS, tls=st.booleans())
def test_whatever_is_sent_there_is_a_verdict_and_it_is_not_laxer_than_django_s(
    host, origin, tls
):
    handshake = to(host, origin, scheme="wss" if tls else "ws")
    if is_of_this_site(asgi_scope(handshake)):
        assert django_lets_in(handshake)


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"text/html; charset*=no-such''%ff"),
        (b"content-length", b"many"),
        (b"cookie", b"\xff=\xff; ;="),
        (b"X_Forwarded_Host", b"evil.com"),
        (b"x-forwarded-host", b"evil.com"),
        (b"x-forwarded-proto", b"http"),
        (b"\xff", b"\xff"),
    ],
)
def test_no_other_header_has_a_say(header):
    own = to("example.com", "https://example.com")
    evil = to("example.com", "https://evil.com")
    assert is_of_this_site(asgi_scope(own, header))
    assert not is_of_this_site(asgi_scope(evil, header))


def test_the_headers_of_a_proxy_count_where_django_is_told_so():
    behind = to("inner", "https://example.com", scheme="ws")
    host, proto = (b"x-forwarded-host", b"example.com"), (b"x-forwarded-proto", b"https")
    assert not is_of_this_site(asgi_scope(behind, host, proto))
    with override_settings(
        USE_X_FORWARDED_HOST=True, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")
    ):
        assert is_of_this_site(asgi_scope(behind, host, proto))
        assert not is_of_this_site(asgi_scope(behind, host, host, proto))
        assert not is_of_this_site(asgi_scope(behind, host))


def test_any_host_may_be_allowed_and_is_still_to_be_the_same():
    with override_settings(ALLOWED_HOSTS=["*"], CSRF_TRUSTED_ORIGINS=[]):
        assert is_of_this_site(asgi_scope(to("any.org", "https://any.org")))
        assert not is_of_this_site(asgi_scope(to("any.org", "https://evil.com")))


def test_names_of_headers_in_any_case_count():
    scope = asgi_scope(to("example.com", "https://example.com"))
    scope["headers"].append((b"Origin", b"https://evil.com"))
    assert not is_of_this_site(scope)


async def test_what_is_no_socket_is_an_error_that_says_where_it_belongs():
    with pytest.raises(ValueError, match=r"for WebSockets, not for 'http'.*ProtocolTypeRouter"):
        await StrictOriginMiddleware(None)({"type": "http"}, None, None)


def test_what_is_logged_has_no_line_breaks_and_an_end(caplog):
    handshake = Handshake((b"https://a\r\nFAKE" + b"b" * 9999,))
    client = WebsocketCommunicator(StrictOriginMiddleware(None), "/")
    client.scope.update(asgi_scope(handshake))

    async def refused():
        await client.connect(timeout=90)
        await client.wait(90)

    asyncio.run(refused())
    (record,) = caplog.records
    line = record.getMessage()
    assert "\n" not in line
    assert len(line) < 600


# --- over real sockets ------------------------------------------------------------------------

SERVERS = [
    Serving(name, application="tests.project.asgi_sockets:application", env=(
        ("ONLOOP_TEST_SITE", json.dumps(SETTINGS)),
    )) for name in ("uvicorn", "daphne", "hypercorn")
]  # fmt: skip


def status_of(port, handshake):
    lines = [b"GET /sockets/desk/ HTTP/1.1"]
    lines += [b"Host: " + value for value in handshake.hosts]
    lines += [b"Origin: " + value for value in handshake.origins]
    lines += [
        b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"", b"",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=90) as connection:
        connection.sendall(b"\r\n".join(lines))
        answer = b""
        while b"\r\n" not in answer:
            piece = connection.recv(4096)
            if not piece:
                break
            answer += piece
    match = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(match[1]) if match else None


@pytest.mark.parametrize("asgi_server", SERVERS, ids=lambda s: s.server, indirect=True)
def test_on_a_server_it_is_101_or_refused(asgi_server):
    """Here there is no TLS, and servers refuse by themselves what is no HTTP."""
    for handshake in TABLE:
        if handshake.scheme != "ws" and handshake.welcome:
            continue
        status = status_of(asgi_server.port, handshake)
        if handshake.scheme == "ws" and handshake.welcome:
            assert status == 101, handshake
        else:
            plain = Handshake(handshake.origins, handshake.hosts, "ws")
            welcome = is_of_this_site(asgi_scope(plain))
            assert status in ((101,) if welcome else (403, 400, None)), handshake
    assert "Traceback" not in asgi_server.new_log()
