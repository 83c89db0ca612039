"""The shared client: time-outs, deadlines, reuse, and what it must not share."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from django.test import override_settings

from onloop import http
from onloop.errors import LoopRequired
from tests.asgi.client import Lifespan
from tests.db.eventually import eventually
from tests.http.conftest import with_deadlines

pytestmark = pytest.mark.usefixtures("closing", "configure")


async def test_it_is_an_ordinary_client_of_httpx(upstream):
    client = http.client()
    assert isinstance(client, httpx.AsyncClient)
    assert client is http.client()
    response = await client.get(f"{upstream.url}/ok")
    assert (response.status_code, response.text) == (200, "ok")


async def test_connections_are_used_again(upstream):
    for _ in range(5):
        await http.client().get(f"{upstream.url}/ok")
    assert (upstream.accepted, len(upstream.requests)) == (1, 5)


async def test_leaving_a_block_of_it_does_not_close_it(upstream):
    async with http.client() as client:
        await client.get(f"{upstream.url}/ok")
    await client.aclose()
    await http.client().get(f"{upstream.url}/ok")
    assert upstream.accepted == 1


async def test_aclose_ends_the_connections_and_the_next_client_is_another(upstream):
    before = http.client()
    await before.get(f"{upstream.url}/ok")
    assert upstream.connections == 1
    await http.aclose()
    await eventually(lambda: upstream.connections == 0)
    assert http.client() is not before
    with pytest.raises(RuntimeError, match="has been closed"):
        await before.get(f"{upstream.url}/ok")


async def test_changed_settings_make_another_client_and_both_are_closed(upstream, configure):
    before = http.client()
    await before.get(f"{upstream.url}/ok")
    configure(READ_TIMEOUT=3)
    assert http.client() is not before
    assert http.client().timeout.read == 3
    await http.client().get(f"{upstream.url}/ok")
    await before.get(f"{upstream.url}/ok")
    assert upstream.connections == 2
    await http.aclose()
    await eventually(lambda: upstream.connections == 0)


async def test_no_cookie_of_one_request_is_sent_with_another(upstream):
    response = await http.client().get(f"{upstream.url}/cookie")
    assert response.cookies["session"] == "of-one"
    told = (await http.client().get(f"{upstream.url}/echo")).json()
    assert "cookie" not in told["headers"]


async def test_cookies_of_a_single_request_are_sent(upstream):
    request = http.client().build_request(
        "GET", f"{upstream.url}/echo", cookies={"session": "mine"}
    )
    told = (await http.client().send(request)).json()
    assert told["headers"]["cookie"] == "session=mine"


async def test_a_stream_is_read_as_it_comes(upstream):
    async with http.client().stream("GET", f"{upstream.url}/endless") as response:
        chunks = response.aiter_bytes()
        first, second = await anext(chunks), await anext(chunks)
        assert set(first + second) == {ord("x")}
    await eventually(lambda: upstream.connections == 0)


# --- time -----------------------------------------------------------------------------------


async def test_a_server_that_does_not_answer_is_a_read_timeout(upstream, configure):
    configure(READ_TIMEOUT=0.05, RETRIES=0)
    with pytest.raises(httpx.ReadTimeout):
        await http.client().get(f"{upstream.url}/hang")
    await eventually(lambda: upstream.connections == 0)


async def test_a_body_that_stops_is_a_read_timeout(upstream, configure):
    configure(READ_TIMEOUT=0.05)
    with pytest.raises(httpx.ReadTimeout):
        await http.client().get(f"{upstream.url}/stuck")
    await eventually(lambda: upstream.connections == 0)


@pytest.mark.parametrize("path", ["hang", "stuck", "trickle", "endless"])
async def test_the_deadline_holds_for_headers_and_body(upstream, configure, path):
    configure(DEADLINE=0.2)
    with pytest.raises(http.DeadlineExceeded, match=rf"GET .*/{path} is over"):
        await http.client().get(f"{upstream.url}/{path}?secret=1")
    await eventually(lambda: upstream.connections == 0)


async def test_a_deadline_does_not_tell_the_query(upstream, configure):
    configure(DEADLINE=0.05)
    with pytest.raises(http.DeadlineExceeded) as caught:
        await http.client().get(f"{upstream.url}/hang?token=secret")
    assert "secret" not in str(caught.value)


async def test_redirects_have_one_deadline_together(upstream, configure):

    async def ask(deadline_s):
        configure(DEADLINE=deadline_s)
        upstream.requests.clear()
        with pytest.raises(http.DeadlineExceeded):
            await http.client().get(
                f"{upstream.url}/redirect?to=/redirect?to=/hang", follow_redirects=True
            )
        return len(upstream.requests)

    assert await with_deadlines(ask, lambda asked: asked == 3) == 3
    configure()
    response = await http.client().get(f"{upstream.url}/redirect?to=/ok", follow_redirects=True)
    ends = [each.request.extensions["onloop.ends_at"] for each in (*response.history, response)]
    assert ends[0] == ends[1]


async def test_a_request_that_is_sent_again_has_a_new_deadline(upstream, configure):
    request = http.client().build_request(
        "GET", f"{upstream.url}/ok", extensions=http.options(deadline_s=5)
    )
    await http.client().send(request)
    first = request.extensions["onloop.ends_at"]
    await http.client().send(request)
    assert request.extensions["onloop.ends_at"] > first


async def test_a_single_request_may_have_another_deadline(upstream):
    with pytest.raises(http.DeadlineExceeded):
        await http.client().get(
            f"{upstream.url}/hang", extensions=http.options(deadline_s=0.05)
        )


async def test_a_deadline_of_0_is_none(upstream):
    async with http.client().stream(
        "GET", f"{upstream.url}/ok", extensions=http.options(deadline_s=0)
    ) as response:
        assert response.request.extensions["onloop.ends_at"] is None


async def test_timeouts_of_httpx_hold_for_a_single_request(upstream, configure):
    configure(RETRIES=0)
    with pytest.raises(httpx.ReadTimeout):
        await http.client().get(f"{upstream.url}/hang", timeout=0.05)


def test_a_negative_deadline_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        http.options(deadline_s=-1)


# --- what breaks ----------------------------------------------------------------------------


async def test_a_body_that_is_cut_off_is_an_error(upstream):
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await http.client().get(f"{upstream.url}/cut")
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


async def test_errors_name_their_request(upstream, configure):
    configure(RETRIES=0)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await http.client().get(f"{upstream.url}/drop")
    assert caught.value.request.url.path == "/drop"


async def test_a_body_is_sent_whole(upstream):
    async def pieces():
        for number in range(3):
            yield f"{number};".encode()

    told = (await http.client().post(f"{upstream.url}/echo", content=pieces())).json()
    assert (told["method"], told["body"]) == ("POST", "0;1;2;")
    told = (await http.client().post(f"{upstream.url}/echo", json={"a": 1})).json()
    assert json.loads(told["body"]) == {"a": 1}


def test_without_a_loop_the_error_names_the_cure():
    with pytest.raises(LoopRequired, match=r"client\(\) belongs to an event loop"):
        http.client()


def test_a_loop_that_ends_closes_its_client(upstream):
    async def ask():
        await http.client().get(f"{upstream.url}/ok")
        assert upstream.connections == 1

    async def gone():
        await eventually(lambda: upstream.connections == 0)

    asyncio.run(ask())
    asyncio.run(gone())


def test_each_loop_has_its_own(upstream):
    async def ask():
        await http.client().get(f"{upstream.url}/ok")
        return http.client()

    assert asyncio.run(ask()) is not asyncio.run(ask())
    assert upstream.accepted == 2


async def test_the_shutdown_of_the_server_closes_it(upstream, db_clean):
    from onloop.asgi import get_asgi_application

    lifespan = Lifespan(get_asgi_application())
    await lifespan.startup()
    await http.client().get(f"{upstream.url}/ok")
    assert upstream.connections == 1
    assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}
    await eventually(lambda: upstream.connections == 0)


async def test_a_hook_of_the_lifespan_may_ask_to_the_end(upstream, db_clean, configure):
    from onloop.asgi import get_asgi_application

    said.clear()
    said.append(upstream.url)
    with override_settings(ONLOOP={"LIFESPAN": [f"{__name__}.says_goodbye"]}):
        lifespan = Lifespan(get_asgi_application())
        await lifespan.startup()
        assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert said[1:] == ["ok"]
    await eventually(lambda: upstream.connections == 0)


said = []


@asynccontextmanager
async def says_goodbye():
    yield
    said.append((await http.client().get(f"{said[0]}/ok")).text)


async def test_proxies_of_the_environment_are_used_within_the_limits(upstream, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", upstream.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    response = await http.client().get("http://nowhere.invalid/flaky/a/1/503")
    assert (response.text, len(upstream.requests)) == ("at last", 2)
    assert upstream.requests[0].path == "http://nowhere.invalid/flaky/a/1/503"
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"
    assert upstream.requests[2].path == "/ok"
