"""The examples and tables of `docs/websocket-limits.md`."""

from __future__ import annotations

import json
import re

import pytest
from django.test import RequestFactory
from django.urls import path

from onloop import conf
from onloop.asgi import get_asgi_application
from onloop.channels import socket_stats
from tests.channels.conftest import Socket
from tests.channels.test_tokens import Who, bearer
from tests.postgres import ROOT
from tests.tokens.people import person

PAGE = (ROOT / "docs" / "websocket-limits.md").read_text()


@pytest.fixture(scope="module")
def page():
    names = {"__name__": __name__}
    for block in re.finditer(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        code = "\n" * PAGE.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, "docs/websocket-limits.md", "exec"), names)
    return names


async def test_a_stack_by_hand_and_a_ticket(open_socket, page):
    http = get_asgi_application()
    application = page["with_sockets"](http, [path("who/", Who.as_asgi())])
    ada = await person("ada")
    socket = await open_socket(application, "/who/", **bearer(ada.text))
    assert await socket.ask("who") == ["ada", "ada's"]

    async def auser():
        return ada.user

    request = RequestFactory().post("/ticket/")
    request.auser = auser
    ticket = json.loads((await page["open_room"](request)).content)["ticket"]
    socket = await open_socket(application, f"/who/?ticket={ticket}")
    assert await socket.ask("who") == ["ada", None]
    refused = Socket(application, "/who/")
    assert await refused.connect() == (False, 1008)


def test_the_table_of_settings_is_complete_and_its_defaults_are_right():
    rows = re.findall(r"^\| `(SOCKET_\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE)
    told = {name: json.loads(value) for name, value in rows}
    defaults = vars(conf.Settings())
    assert told == {name: defaults[name] for name in defaults if name.startswith("SOCKET_")}


def test_what_is_counted_is_told():
    (line,) = re.findall(r"`onloop.channels.socket_stats\(\)` has all: (.*)\.", PAGE)
    assert re.findall(r"`(\w+)`", line) == list(socket_stats())
