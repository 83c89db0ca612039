"""Plain calls: on the loop in a bridge, through a loop in a thread elsewhere."""

from __future__ import annotations

import asyncio
import io
import threading

import httpx
import pytest

from onloop import bridge, http
from onloop.errors import BridgeRequired
from onloop.http import sync
from tests.db.eventually import eventually
from tests.fresh import python

pytestmark = pytest.mark.usefixtures("configure", "no_portal")


def threads():
    return [thread for thread in threading.enumerate() if thread.name == sync.NAME]


# --- in a bridge ----------------------------------------------------------------------------


async def test_in_a_bridge_it_is_the_loops_own_client(upstream, closing):
    def work():
        assert sync.get(f"{upstream.url}/ok").text == "ok"
        told = sync.post(f"{upstream.url}/echo", json={"a": 1}).json()
        assert (told["method"], told["body"]) == ("POST", '{"a":1}')

    await bridge.run(work)
    await http.client().get(f"{upstream.url}/ok")
    assert (upstream.accepted, len(upstream.requests)) == (1, 3)
    assert threads() == []


async def test_the_loop_goes_on_meanwhile(upstream, closing):
    asking = asyncio.create_task(
        asyncio.wait_for(bridge.run(sync.get, f"{upstream.url}/hold"), 20)
    )
    await eventually(lambda: upstream.under_way == 1)
    upstream.release()
    assert (await asking).text == "held"


async def test_in_a_bridge_a_stream_is_read_as_it_comes(upstream, closing):
    def work():
        with sync.stream("GET", f"{upstream.url}/endless") as response:
            return next(response.iter_bytes())

    assert set(await bridge.run(work)) == {ord("x")}
    await eventually(lambda: upstream.connections == 0)


async def test_on_a_loop_outside_a_bridge_the_error_names_the_cure(upstream):
    with pytest.raises(BridgeRequired, match=r"await onloop\.http\.client"):
        sync.get(f"{upstream.url}/ok")
    assert upstream.requests == []


async def test_a_response_is_read_where_it_was_begun(upstream, closing):
    def begin():
        return sync.client().send(
            sync.client().build_request("GET", f"{upstream.url}/ok"), stream=True
        )

    response = await asyncio.to_thread(begin)
    with pytest.raises(RuntimeError, match="has to be read and closed"):
        await bridge.run(response.read)
    assert await asyncio.to_thread(response.stream.close) is None


# --- in a plain thread ----------------------------------------------------------------------


def test_elsewhere_it_blocks_the_thread(upstream):
    assert sync.get(f"{upstream.url}/ok").text == "ok"
    assert sync.request("PUT", f"{upstream.url}/echo", content=b"x").json()["body"] == "x"
    with sync.stream("GET", f"{upstream.url}/large/300000") as response:
        assert sum(map(len, response.iter_bytes())) == 300_000
    assert (upstream.accepted, len(threads())) == (1, 1)


@pytest.mark.parametrize("method", ["delete", "get", "head", "patch", "post", "put"])
def test_every_method_is_there(upstream, method):
    getattr(sync, method)(f"{upstream.url}/ok")
    assert upstream.requests[0].method == method.upper()


def test_settings_hold_there_too(upstream, configure):
    configure(DEADLINE=0.2, CIRCUIT_FAILURES=2, CIRCUIT_RESET=600)
    assert sync.get(f"{upstream.url}/flaky/a/1/503").status_code == 200
    for path in ("trickle", "hang"):
        with pytest.raises(http.DeadlineExceeded):
            sync.get(f"{upstream.url}/{path}")
    with pytest.raises(http.CircuitOpen):
        sync.get(f"{upstream.url}/ok")


def test_redirects_have_one_deadline_together_and_each_sending_its_own(upstream):
    request = sync.client().build_request("GET", f"{upstream.url}/redirect?to=/ok")
    last = 0
    for _ in range(2):
        response = sync.client().send(request, follow_redirects=True)
        ends = [
            each.request.extensions["onloop.ends_at"] for each in (*response.history, response)
        ]
        assert ends[0] == ends[1] > last
        last = ends[0]


def test_a_thread_that_waits_is_told_of_the_end(upstream):
    def ask():
        with pytest.raises(RuntimeError, match=r"sync\.close\(\) was called"):
            sync.get(f"{upstream.url}/hang")
        told.append(1)

    told = []
    asking = threading.Thread(target=ask)
    asking.start()
    asyncio.run(eventually(lambda: upstream.under_way == 1))
    sync.close()
    asking.join()
    assert told == [1]
    asyncio.run(eventually(lambda: upstream.under_way == 0))


def test_bodies_may_be_files_and_are_not_sent_twice(upstream):
    told = sync.post(f"{upstream.url}/echo", files={"a": io.BytesIO(b"content")}).json()
    assert "content" in told["body"]
    response = sync.put(f"{upstream.url}/flaky/a/1/503", content=iter([b"a", b"b"]))
    assert response.status_code == 503
    assert upstream.requests[-1].body == b"ab"


def test_no_cookie_is_kept(upstream):
    sync.get(f"{upstream.url}/cookie")
    assert "cookie" not in sync.get(f"{upstream.url}/echo").json()["headers"]


def test_leaving_a_block_of_it_does_not_close_it(upstream):
    with sync.client() as client:
        client.get(f"{upstream.url}/ok")
    client.close()
    assert sync.client().get(f"{upstream.url}/ok").text == "ok"
    assert upstream.accepted == 1


def test_many_threads_share_one_loop(upstream):
    results = []
    asking = [
        threading.Thread(target=lambda: results.append(sync.get(f"{upstream.url}/hold").text))
        for _ in range(8)
    ]
    for thread in asking:
        thread.start()
    asyncio.run(eventually(lambda: upstream.under_way == 8))
    upstream.release()
    for thread in asking:
        thread.join()
    assert (results, len(threads())) == (["held"] * 8, 1)


def test_closing_ends_thread_and_connections_and_the_next_call_starts_another(upstream):
    sync.get(f"{upstream.url}/ok")
    sync.close()
    assert threads() == []
    asyncio.run(eventually(lambda: upstream.connections == 0))
    assert sync.get(f"{upstream.url}/ok").text == "ok"


def test_a_forked_child_starts_its_own(upstream):
    told = python(f"""
        import os
        from django.conf import settings
        settings.configure()
        from onloop.http import sync
        sync.get("{upstream.url}/ok")
        if not (child := os.fork()):
            os._exit(0 if sync.get("{upstream.url}/ok").text == "ok" else 1)
        print(os.waitpid(child, 0)[1], sync.get("{upstream.url}/ok").text)
    """)
    assert told == "0 ok"
    assert (upstream.accepted, len(upstream.requests)) == (2, 3)


def test_a_process_ends_by_itself(upstream):
    told = python(f"""
        from django.conf import settings
        settings.configure()
        from onloop.http import sync
        print(sync.get("{upstream.url}/ok").text)
    """)
    assert told == "ok"
    asyncio.run(eventually(lambda: upstream.connections == 0))


def test_errors_name_their_request(upstream, configure):
    configure(RETRIES=0)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        sync.get(f"{upstream.url}/drop")
    assert caught.value.request.url.path == "/drop"
