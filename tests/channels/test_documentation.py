"""The examples of `docs/websockets.md`, run as they stand there."""

from __future__ import annotations

import re

import pytest
from channels.routing import ProtocolTypeRouter
from django.urls import path

from tests.channels.conftest import Socket
from tests.db.test_testcase import assert_passes
from tests.postgres import ROOT

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
