"""Requests that a client sends without waiting for answers: uvicorn starts each in the context
of the one before.
"""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.conftest import HTTP_TIMEOUT_S
from tests.project.library.models import Author
from tests.servers import Serving

MANY = 50

pytestmark = pytest.mark.parametrize(
    "asgi_server",
    [
        Serving(),
        Serving(loop="uvloop"),
        Serving(env=(("UVICORN_HTTP", "h11"),)),
    ],
    ids=["httptools", "uvloop", "h11"],
    indirect=True,
)

UNTOUCHED = {"language": "en", "zone": "UTC", "in a block": False, "authors": 0}


def pipelined(server, *paths):
    """Send a request for each path at once; return what the answers have for JSON."""
    requests = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths]
    with socket.create_connection(("127.0.0.1", server.port), HTTP_TIMEOUT_S) as client:
        client.sendall(b"".join(requests))
        with client.makefile("rb") as file:
            return [read_answer(file) for _ in paths]


def read_answer(file):
    status = int(file.readline().split()[1])
    length = 0
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = file.read(length)
    return json.loads(body) if status == 200 else status


@pytest.mark.parametrize("view", ["as-found", "as-found-sync"])
def test_a_pipelined_request_finds_nothing_of_the_one_before(asgi_server, view):
    answers = pipelined(asgi_server, *[f"/desk/{view}/de/"] * MANY)
    assert answers == [UNTOUCHED] * MANY


def test_errors_between_them_change_nothing(asgi_server):
    paths = ["/desk/as-found/de/", "/desk/raises/", "/nowhere/"] * 5
    assert pipelined(asgi_server, *paths) == [UNTOUCHED, 500, 404] * 5


def test_pipelined_requests_leave_no_thread(asgi_server):
    *_, before = pipelined(asgi_server, "/desk/as-found-sync/de/", "/desk/process/")
    pipelined(asgi_server, *["/desk/as-found-sync/de/"] * MANY)
    deadline = time.monotonic() + 90
    while True:  # the last ones may be on their way out
        (after,) = pipelined(asgi_server, "/desk/process/")
        # SQLite's come where a statement was slow, which the machine decides.
        threads = [name for name in after["threads"] if not name.startswith("onloop-sqlite")]
        if len(threads) <= len(before["threads"]):
            return
        assert time.monotonic() < deadline, after["threads"]


def test_what_one_writes_the_next_reads(asgi_server):
    Author.objects.create(name="A")
    answers = pipelined(asgi_server, "/desk/as-found/de/", "/desk/as-found-sync/de/")
    assert [answer["authors"] for answer in answers] == [1, 1]
