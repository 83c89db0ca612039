"""The examples of `docs/websockets.md`, run as they stand there."""

from __future__ import annotations

import asyncio
import re

import pytest
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from channels.testing import ApplicationCommunicator, HttpCommunicator
from django.urls import path

from tests.channels.conftest import DEADLINE_S, Socket
from tests.db.eventually import eventually
from tests.db.test_testcase import assert_passes
from tests.postgres import ROOT
from tests.project.library.models import Author, Book

FROM_HERE = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


def blocks():
    text = (ROOT / "docs" / "websockets.md").read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


@pytest.fixture(scope="module")
def page():
    """The names that the page's examples define, but for the line with a path of somebody's."""
    names = {"__name__": __name__}
    for block in blocks():
        if "mysite" not in block:
            exec(compile(block, "docs/websockets.md", "exec"), names)
    return names


BOOK = {"author": "A. Loop", "title": "One", "published": "2001-01-01"}


async def test_the_shelf_is_filled(open_socket, page, started_threads):
    socket = await open_socket(page["Shelf"].as_asgi())
    assert await socket.ask(BOOK) == [["One", "A. Loop"]]
    assert started_threads == []


async def test_a_router_by_hand(open_socket, page):
    application = page["with_sockets"]([path("shelf/", page["Shelf"].as_asgi())])
    assert isinstance(application, ProtocolTypeRouter)
    socket = await open_socket(application, "/shelf/", headers=FROM_HERE)
    assert await socket.ask(BOOK) == [["One", "A. Loop"]]
    refused = Socket(application, "/shelf/")
    assert await refused.connect() == (False, 1008)


def test_the_test_passes(db_clean, page):
    assert_passes(page["ShelfTests"], 1)


def test_the_one_line_is_the_one_that_other_tests_run():
    (line,) = [block.strip() for block in blocks() if "mysite" in block]
    assert "get_asgi_application(" in line
    assert (
        line.replace("mysite.routing", "tests.project.sockets.routing").splitlines()[-1]
        in (ROOT / "tests" / "project" / "asgi_sockets.py").read_text()
    )


async def test_a_worker_s_consumer_writes(db_clean, page):
    communicator = ApplicationCommunicator(
        ChannelNameRouter(page["channel_names"]), {"type": "channel", "channel": "imports"}
    )
    message = {"author": "B. Loop", "titles": ["One", "Two"], "published": "2001-01-01"}
    await communicator.send_input({"type": "import.books", **message})
    await eventually(lambda: Book.objects.filter(author__name="B. Loop").acount())
    assert await Book.objects.acount() == 2
    communicator.future.cancel()
    await asyncio.wait([communicator.future])


async def test_consumers_of_http_stream(db_clean, page):
    author = await Author.objects.acreate(name="A. Loop")
    await Book.objects.acreate(title="One", author=author, published="2001-01-01")
    titles = HttpCommunicator(page["with_consumers"], "GET", "/titles/")
    assert (await titles.get_response(DEADLINE_S))["body"] == b'["One", "A. Loop"]\n'
    news = HttpCommunicator(page["with_consumers"], "GET", "/news/")
    await news.send_input({"type": "http.request", "body": b""})
    assert (await news.receive_output(DEADLINE_S))["status"] == 200
    assert (await news.receive_output(DEADLINE_S))["body"] == b": open\n\n"
    await get_channel_layer().group_send("news", {"type": "new.book"})
    assert (await news.receive_output(DEADLINE_S))["body"] == b"data: 1\n\n"
    await news.send_input({"type": "http.disconnect"})
    await news.wait(DEADLINE_S)
