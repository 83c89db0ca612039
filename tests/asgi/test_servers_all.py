"""Every server that is claimed serves the same project over a real socket."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from dataclasses import dataclass, replace

import httpx
import pytest

from tests.conftest import HTTP_TIMEOUT_S
from tests.project.library.models import Author, Book
from tests.servers import Serving, start

# About the servers; the database behind them is tested on one of them.
pytestmark = pytest.mark.only_on("postgresql")

SERVERS = [
    Serving("uvicorn"),
    Serving("uvicorn", "uvloop"),
    Serving("daphne"),
    Serving("hypercorn"),
    Serving("granian"),
]


def name_of(serving):
    return f"{serving.server}-{serving.loop}"


on_every_server = pytest.mark.parametrize("asgi_server", SERVERS, ids=name_of, indirect=True)


@pytest.fixture
def book(db_clean):
    author = Author.objects.create(name="A. Loop")
    return Book.objects.create(title="One", author=author, published="2001-01-01")


def wait_for(condition):
    """Wait until `condition()` holds in another process, which cannot wake this one."""
    deadline = time.monotonic() + HTTP_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@on_every_server
@pytest.mark.parametrize("path", ["/books/", "/books-sync/"])
def test_a_view_with_queries_answers(http, book, path):
    assert http.get(path).json() == {"books": [{"title": "One", "author": "A. Loop"}]}


@on_every_server
def test_what_is_not_there_is_404(http):
    assert http.get("/nowhere/").status_code == 404


@on_every_server
def test_an_error_is_500(http):
    assert http.get("/desk/raises/").status_code == 500


@on_every_server
@pytest.mark.parametrize("size", [0, 1, 2_000_000])
def test_a_body_comes_and_goes(http, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert http.post("/desk/echo/", content=body).content == body


@on_every_server
@pytest.mark.parametrize("path", ["numbers", "numbers-sync"])
def test_a_stream_arrives_whole(http, path):
    answer = http.get(f"/desk/{path}/2000/")
    assert answer.text == "".join(f"{number};" for number in range(2000))


@on_every_server
async def test_many_clients_are_served_at_once(ahttp, book):
    answers = await asyncio.gather(*(
        ahttp.get(path) for path in ["/books/", "/books-sync/", "/ping/"] * 10
    ))  # fmt: skip
    assert {answer.status_code for answer in answers} == {200}


@on_every_server
def test_a_client_that_leaves_a_stream_ends_it(asgi_server, http):
    with http.stream("GET", "/desk/until-you-leave/") as answer:
        assert next(answer.iter_text()) == "open"
    wait_for(lambda: "closed with 0 authors" in asgi_server.new_log())


@on_every_server
def test_a_query_is_stopped_when_its_client_leaves(asgi_server, pg_activity):
    def running():
        return pg_activity("until_the_client_leaves", state="active")

    with socket.create_connection(("127.0.0.1", asgi_server.port)) as client:
        client.sendall(b"GET /desk/sleeps-in-the-database/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(running)
    wait_for(lambda: not running())


@on_every_server
def test_no_request_leaves_a_transaction_or_a_thread(asgi_server, http, book):
    before = http.get("/desk/process/").json()["threads"]
    for path in ["/books/", "/desk/raises/", "/nowhere/", "/desk/numbers-sync/3/"]:
        http.get(path)
    left = [
        name
        for name in set(http.get("/desk/process/").json()["threads"]) - set(before)
        if not name.startswith("asyncio_")  # the loop's own executor stays
    ]
    # A thread that a sync view had may still be on its way out.
    wait_for(lambda: not set(left) & set(http.get("/desk/process/").json()["threads"]))


@dataclass
class Ended:
    """A server that has served a request and has then been told to end, as by Ctrl-C."""

    code: int
    log: str
    connections: int
    connections_left: int


@pytest.fixture(scope="module", params=SERVERS, ids=name_of)
def ended(request, database, tmp_path_factory):
    def connections():
        return len(database.activity(application_name=name)) if database.place else 0

    # A name of its own, since other servers of the run go on.
    name = f"onloop-{name_of(request.param)}"
    serving = replace(request.param, env=(("PGAPPNAME", name),))
    server = start(serving, tmp_path_factory.mktemp("ended"))
    try:
        assert httpx.get(f"{server.url}/books/", timeout=HTTP_TIMEOUT_S).status_code == 200
        before = connections()
    finally:
        code = server.stop()
    deadline = time.monotonic() + HTTP_TIMEOUT_S
    while (left := connections()) and time.monotonic() < deadline:
        time.sleep(0.01)  # PostgreSQL takes a moment to notice
    return Ended(code, server.log_text(), before, left)


def test_ctrl_c_ends_it_cleanly(ended):
    assert ended.code in {0, -signal.SIGINT, 128 + signal.SIGINT}


def test_ctrl_c_leaves_no_error_in_its_log(ended):
    # The watchdog quotes code, and says how long the first request took to import it.
    log = [line for line in ended.log.splitlines() if "held the event loop" not in line]
    assert not [line for line in log if "Traceback" in line or "Error" in line], ended.log


@pytest.mark.only_on("postgresql")
def test_no_connection_outlives_the_server(ended):
    assert (ended.connections, ended.connections_left) == (1, 0)


WITHOUT_LIFESPAN = Serving(arguments=("--lifespan", "off"))


@pytest.mark.parametrize("asgi_server", [WITHOUT_LIFESPAN], ids=["off"], indirect=True)
def test_a_server_that_knows_no_lifespan_serves_as_well(http, book):
    assert http.get("/books/").json()["books"] == [{"title": "One", "author": "A. Loop"}]


TWO_WORKERS = Serving(arguments=("--workers", "2"))


def test_two_workers_serve_and_end(db_clean, book, tmp_path):
    server = start(TWO_WORKERS, tmp_path)
    try:
        seen = set()

        def both_have_answered():
            # A connection of its own each time: the kernel gives it to either worker.
            answer = httpx.get(f"{server.url}/desk/process/", timeout=HTTP_TIMEOUT_S)
            seen.add(answer.json()["pid"])
            books = httpx.get(f"{server.url}/books/", timeout=HTTP_TIMEOUT_S)
            assert books.json()["books"]
            return len(seen) == 2

        wait_for(both_have_answered)
    finally:
        assert server.stop() in {0, -signal.SIGINT, 128 + signal.SIGINT}
    assert "Traceback" not in server.log_text()
