"""Clients in views on real servers, closed by the lifespan."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.db.eventually import eventually
from tests.servers import Serving

# Nothing here asks the database.
pytestmark = pytest.mark.only_on("postgresql")

SITE = "tests.http.asgi:application"


def wait_for(condition):
    asyncio.run(eventually(condition))


@pytest.mark.parametrize(
    "asgi_server",
    [Serving(loop=loop, application=SITE) for loop in ("asyncio", "uvloop")],
    indirect=True,
    ids=["asyncio", "uvloop"],
)
class TestViews:
    @pytest.mark.parametrize(
        ("view", "where"), [("async", "bridge"), ("plain", "bridge"), ("threaded", "thread")]
    )
    def test_every_kind_of_view_asks_and_a_shutdown_closes(
        self, asgi_server, http, upstream, view, where
    ):
        for _ in range(3):
            told = http.get(f"/{view}/", params={"url": f"{upstream.url}/ok"})
            assert told.json() == {"text": "ok", "where": where}
        assert (upstream.accepted, upstream.connections) == (1, 1)
        assert asgi_server.stop() == 0
        wait_for(lambda: upstream.connections == 0)
        assert "Traceback" not in asgi_server.new_log()

    def test_panels_are_asked_at_once(self, http, upstream):
        urls = [f"{upstream.url}/hold"] * 10 + [f"{upstream.url}/status/404"]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(http.get, "/panels/", params={"url": urls[:10]})
            wait_for(lambda: upstream.under_way == 10)
            upstream.release()
            assert asked.result().json() == {"texts": ["held"] * 10}
        told = http.get("/panels/", params={"url": urls[8:]})
        assert told.json() == {"texts": ["held", "held", None]}

    def test_a_client_that_leaves_ends_what_its_view_has_asked(self, asgi_server, upstream):
        line = f"GET /async/?url={upstream.url}/hang HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", asgi_server.port)) as client:
            client.sendall(line.encode())
            wait_for(lambda: upstream.under_way == 1)
        wait_for(lambda: len(upstream.requests) == 1 and upstream.under_way == 0)
