"""Addresses that come from users: where the public client goes, and where it never does."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from onloop import http
from onloop.http import sync
from tests.http.upstream import Upstream

pytestmark = pytest.mark.usefixtures("configure")

# Stands for a public address. The rest of 127.0.0.0/8 stays what it is: loopback.
PUBLIC = "127.0.0.2"

UNREADABLE = [
    "http://\N{FULLWIDTH DIGIT ONE}27.0.0.1/",
    "http://999.1.1.1/",
    "http://[::1/",
    # httpx itself answers with a UnicodeError to these.
    "http://xn--a/",
    "http://xn--/",
    "http://example.org/\ud800",
    "http://example.org/?\ud800",
]


@pytest.fixture
def private():
    """A server at a private address, on the port of the public one."""
    server = Upstream("127.0.0.1").start()
    yield server
    server.stop()


@pytest.fixture
async def public(configure, private):
    """A server whose address counts as public."""
    server = Upstream(PUBLIC, private.port).start()
    configure(PUBLIC_ALLOW=[f"{PUBLIC}/32"], PUBLIC_PORTS=[server.port], RETRIES=0)
    yield server
    await http.aclose()
    server.stop()


@pytest.fixture
async def resolver(monkeypatch):
    """A resolver under an attacker's command: each look-up of a name takes its next answer."""
    answers: dict[str, list[list[str]]] = {}
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host, port, **kwargs):
        if host not in answers:
            return await real(host, port, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answers[host].pop(0)
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return answers


async def refused(url, match, **kwargs):
    with pytest.raises(http.TargetRefused, match=match):
        await http.public_client().get(url, **kwargs)


async def test_a_public_target_is_asked(public):
    response = await http.public_client().get(f"{public.url}/ok")
    assert response.text == "ok"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",  # as `inet_aton` reads it
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
async def test_this_machine_is_not(public, private, host):
    await refused(f"http://{host}:{public.port}/ok", "is not a public target: .* is ")
    assert private.requests == []


async def test_the_metadata_of_clouds_are_not(configure):
    for host in ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16"):
        await refused(f"http://{host}/latest/meta-data/", "is not a public target")


async def test_a_redirect_is_judged_again(public, private):
    url = f"{public.url}/redirect?to={private.url}/ok"
    await refused(url, "127.0.0.1 is loopback", follow_redirects=True)
    assert private.requests == []


async def test_a_redirect_to_another_scheme_is_refused(public):
    for target in ("ftp://example.org/", "file:///etc/passwd", "unix://x/"):
        with pytest.raises((http.TargetRefused, httpx.UnsupportedProtocol)):
            await http.public_client().get(
                f"{public.url}/redirect?to={target}", follow_redirects=True
            )


async def test_redirects_end(public):
    with pytest.raises(httpx.TooManyRedirects):
        await http.public_client().get(
            f"{public.url}/redirect?to=" * 10 + f"{public.url}/ok", follow_redirects=True
        )
    assert len(public.requests) == 6


async def test_other_ports_are_refused(public, configure):
    configure(PUBLIC_ALLOW=[f"{PUBLIC}/32"])
    await refused(f"{public.url}/ok", r"Port \d+ of 127.0.0.2 is not allowed; .*: 80, 443")


async def test_credentials_in_the_address_are_refused(public):
    url = public.url.replace("//", "//user:secret@")
    with pytest.raises(http.TargetRefused, match="holds a user's name") as caught:
        await http.public_client().get(url)
    assert "secret" not in str(caught.value)
    assert public.requests == []


async def test_a_name_is_resolved_once_and_its_address_connected_to(public, private, resolver):
    """DNS rebinding: the second answer would be private."""
    resolver["rebinds.example"] = [[PUBLIC], ["127.0.0.1"]]
    response = await http.public_client().get(f"http://rebinds.example:{public.port}/echo")
    assert response.json()["headers"]["host"] == f"rebinds.example:{public.port}"
    assert resolver["rebinds.example"] == [["127.0.0.1"]]
    assert private.requests == []


async def test_a_connection_that_is_made_anew_is_judged_anew(public, private, resolver):
    resolver["rebinds.example"] = [[PUBLIC], ["127.0.0.1"]]
    url = f"http://rebinds.example:{public.port}"
    with pytest.raises(httpx.RemoteProtocolError):
        await http.public_client().get(f"{url}/drop")
    await refused(f"{url}/ok", "rebinds.example is not a public target")
    assert private.requests == []


async def test_every_answer_is_judged(public, private, resolver):
    for answers in ([PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "10.0.0.1"]):
        resolver["mixed.example"] = [answers]
        await refused(f"http://mixed.example:{public.port}/ok", "is not a public target")
    assert (public.requests, private.requests) == ([], [])


async def test_the_next_address_is_tried_when_one_does_not_answer(public, resolver, configure):
    configure(PUBLIC_ALLOW=["127.0.0.0/29"], PUBLIC_PORTS=[public.port], RETRIES=0)
    resolver["two.example"] = [["127.0.0.3", PUBLIC]]
    response = await http.public_client().get(f"http://two.example:{public.port}/ok")
    assert response.text == "ok"


async def test_a_name_that_is_none_is_a_connect_error(public):
    for host in ("nowhere.invalid", "a" * 70 + ".example"):
        with pytest.raises(httpx.ConnectError, match="cannot be resolved"):
            await http.public_client().get(f"http://{host}:{public.port}/")


async def test_proxies_of_the_environment_are_not_used(public, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    await http.aclose()
    assert (await http.public_client().get(f"{public.url}/ok")).text == "ok"


async def test_a_refusal_is_neither_tried_again_nor_held_against_the_host(public, configure):
    configure(
        PUBLIC_ALLOW=[f"{PUBLIC}/32"],
        PUBLIC_PORTS=[public.port],
        RETRIES=5,
        CIRCUIT_FAILURES=1,
    )
    for _ in range(3):
        await refused(f"http://127.0.0.1:{public.port}/", "is loopback")


async def test_an_address_that_cannot_be_read_is_an_error_of_httpx(public):
    for url in UNREADABLE:
        with pytest.raises(httpx.InvalidURL):
            await http.public_client().get(url)
        with pytest.raises(httpx.InvalidURL):
            await asyncio.to_thread(sync.public_client().get, url)


async def test_nor_is_one_in_a_redirect(public):
    url = f"{public.url}/redirect?to=http://xn--a/"
    for follow in (True, False):
        with pytest.raises(httpx.RemoteProtocolError, match="location header"):
            await http.public_client().get(url, follow_redirects=follow)
        with pytest.raises(httpx.RemoteProtocolError, match="location header"):
            await asyncio.to_thread(sync.public_client().get, url, follow_redirects=follow)
    assert http.stats()["under_way"] == 0


@given(st.text(max_size=30), st.sampled_from(["", "http://", "https://", "http://[", "//"]))
@settings(max_examples=300, deadline=None)
def test_no_address_is_an_error_that_is_not_documented(text, before):
    async def ask():
        try:
            await http.public_client().get(before + text)
        except (httpx.HTTPError, httpx.InvalidURL):
            pass

    with override_settings(ONLOOP={"HTTP": {"PUBLIC_PORTS": [], "RETRIES": 0}}):
        asyncio.run(ask())


# --- what comes back ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["endless", "large/2001"])
async def test_a_body_that_is_too_long_is_refused(public, configure, path):
    configure(PUBLIC_ALLOW=[f"{PUBLIC}/32"], PUBLIC_PORTS=[public.port], PUBLIC_MAX_BODY=2000)
    with pytest.raises(http.BodyTooLarge, match="longer than 2000 bytes"):
        await http.public_client().get(f"{public.url}/{path}")
    assert len((await http.public_client().get(f"{public.url}/large/2000")).content) == 2000


async def test_a_compressed_body_is_not_asked_for_and_refused(public):
    with pytest.raises(http.BodyTooLarge, match=r"compressed \(gzip\) although"):
        await http.public_client().get(f"{public.url}/gzip")
    assert public.requests[-1].headers["accept-encoding"] == "identity"
    response = await http.public_client().head(f"{public.url}/gzip")
    assert response.status_code == 200


async def test_plain_calls_are_judged_too(public, no_portal):
    def ask():
        assert sync.public_client().get(f"{public.url}/ok").text == "ok"
        with pytest.raises(http.TargetRefused, match=r"127\.0\.0\.1 is loopback"):
            sync.public_client().get(
                f"{public.url}/redirect?to=http://127.0.0.1:{public.port}/",
                follow_redirects=True,
            )

    await asyncio.to_thread(ask)
