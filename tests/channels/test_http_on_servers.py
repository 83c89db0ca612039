"""`AsyncHttpConsumer` on real servers: streams, long polls, bodies and their limits."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import pytest

from tests.channels.conftest import DEADLINE_S
from tests.channels.test_servers import idle, served_by
from tests.db.eventually import eventually
from tests.project.library.models import Author, Book
from tests.servers import Serving

UVICORN = Serving(
    "uvicorn",
    application="tests.project.asgi_http:application",
    env=(("ONLOOP_TEST_ONLOOP", json.dumps({"MAX_BODY": 10_000, "CHUNK_TIMEOUT": 1.0})),),
)
DAPHNE = Serving("daphne", application=UVICORN.application, env=UVICORN.env)
HYPERCORN = Serving("hypercorn", application=UVICORN.application, env=UVICORN.env)
SERVERS = [UVICORN, DAPHNE, HYPERCORN]


@pytest.fixture
async def client(asgi_server):
    async with httpx.AsyncClient(base_url=asgi_server.url, timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
def books(db_clean):
    for number in range(3):
        author = Author.objects.create(name=f"author {number}")
        Book.objects.create(title=f"book {number}", author=author, published="2001-01-01")


async def tell(client, name):
    answer = await client.get("/sockets/news/news/", params={"body": name})
    assert answer.text == "told"


@served_by(*SERVERS)
async def test_a_stream_has_a_query_for_each_line(asgi_server, client, books, db_clean):
    answer = await client.get("/consumers/stream/")
    assert answer.text.splitlines() == [
        f"book {number} by author {number}, bridge" for number in range(3)
    ]
    if db_clean.kind == "postgresql":
        await eventually(lambda: idle(db_clean.activity))


@served_by(*SERVERS)
async def test_what_waits_for_news_is_answered_when_they_are_committed(asgi_server, client):
    async with client.stream("GET", "/consumers/long/") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": open"
        for count in (1, 2, 3):
            await tell(client, f"author {count}")
            while not (line := await anext(lines)).startswith("data"):
                pass
            assert line == f"data: {count}"
    # The client has left, and the consumer is told.
    await eventually(lambda: "left with 3" in asgi_server.new_log())
    assert "Traceback" not in asgi_server.new_log()


@served_by(*SERVERS)
async def test_a_long_poll_is_one_unit_that_waits(asgi_server, client, db_clean):
    polling = asyncio.create_task(client.get("/consumers/poll/"))
    await eventually(lambda: "polls" in asgi_server.new_log())
    if db_clean.kind == "postgresql":
        assert idle(db_clean.activity)
    await tell(client, "ada")
    assert (await polling).json() == ["ada"]
    await eventually(lambda: "left" in asgi_server.new_log())


@served_by(UVICORN)
async def test_nobody_is_told_and_the_poll_ends(asgi_server, client):
    answer = await client.request("GET", "/consumers/poll/", content=b"0.1")
    assert answer.status_code == 204


@served_by(*SERVERS)
async def test_a_body_is_taken_up_to_the_limit(asgi_server, client):
    assert (await client.post("/consumers/takes/", content=b"a" * 10_000)).text == "10000"
    answer = await client.post("/consumers/takes/", content=b"a" * 10_001)
    assert (answer.status_code, answer.text) == (413, "The body is too long.\n")
    assert [name async for name in Author.objects.values_list("name", flat=True)] == [
        "10000 bytes"
    ]
    # It is told as if its client had left, and the next request works.
    await eventually(lambda: asgi_server.new_log().count("told") == 2)
    assert (await client.post("/consumers/takes/", content=b"")).text == "0"
    assert "Traceback" not in asgi_server.new_log()


# Daphne calls an application when it has read the whole body.
@served_by(UVICORN, HYPERCORN)
async def test_a_body_that_does_not_come_is_given_up(asgi_server, client):
    with socket.create_connection(("127.0.0.1", asgi_server.port), DEADLINE_S) as slow:
        slow.sendall(
            b"POST /consumers/takes/ HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\na"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
    await eventually(lambda: "told" in asgi_server.new_log())
    assert not await Author.objects.aexists()
    assert "Traceback" not in asgi_server.new_log()


@served_by(UVICORN)
async def test_the_projects_views_stand_beside(asgi_server, client, books):
    assert len((await client.get("/books/")).json()["books"]) == 3
    assert (await client.post("/books/", content=b"a" * 10_001)).status_code in (405, 413)
