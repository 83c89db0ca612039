"""Flows: what a browser does with a project, step by step, on the loop and under WSGI.

A flow is a coroutine that is given a browser. `Flows.compare` runs it twice on empty databases,
through Onloop's handler and through Django's own for WSGI, and returns what was said; the two
must be the same but for tokens and times. Views of the test modules call `here()`, which
notes where they run.
"""

from __future__ import annotations

import asyncio
import difflib
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.db import connections
from django.test import Client, override_settings
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

import onloop
from onloop import bridge
from tests.asgi.client import Exchange
from tests.database import TestDatabases

# As Django writes times, "4 a.m." at the full hour.
TIME = re.compile(
    r"\d{1,2}(?::\d{2})+(?:\.\d+)?(?: [ap]\.m\.)?|\d{1,2} [ap]\.m\.|midnight|noon"
)
ON_LOOP = ["django.contrib.admin", "django.views", "rest_framework"]
PASSWORD = "not a secret"
# Of the threads in which passwords are hashed, and of those in which disks are asked.
OTHERS = ("asyncio_", "onloop-files-")

# Where the views of this run were, as they say themselves.
_places: list[tuple[str, int]] = []


def here() -> None:
    _places.append((onloop.where(), threading.get_ident()))


@dataclass
class Answer:
    """One response, in a form in which two can be compared."""

    status: int
    headers: dict[str, str]
    text: str
    step: str = ""

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    def difference(self, other: Answer) -> str:
        both = ([*map(str, answer.comparable[:3]), *answer.comparable[3].splitlines()]
                for answer in (self, other))  # fmt: skip
        return "\n".join(difflib.unified_diff(*both, "on the loop", "WSGI", lineterm=""))

    @property
    def comparable(self) -> tuple[str, int, dict[str, str], str]:
        text = re.sub(r'(csrfmiddlewaretoken" value=|csrfToken": )"\w+"', r"\1TOKEN", self.text)
        text = TIME.sub("TIME", text)
        kept = {"location", "content-type", "allow", "vary", "www-authenticate"}
        headers = {name: value for name, value in self.headers.items() if name in kept}
        return self.step, self.status, headers, text


class Browser:
    """Cookies, forms and their tokens; `ask` is what the two kinds do differently."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    @property
    def cookies(self) -> Mapping[str, str]:
        raise NotImplementedError

    async def _ask(
        self, method: str, path: str, body: bytes, content_type: str, headers: dict[str, str]
    ) -> Answer:
        raise NotImplementedError

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/octet-stream",
        **headers: str,
    ) -> Answer:
        """Send a request; `accept="text/html"` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self._ask(method, path, body, content_type, named)
        answer.step = f"{method} {path}"
        self.answers.append(answer)
        return answer

    async def get(
        self, path: str, query: Mapping[str, Any] | None = None, **headers: str
    ) -> Any:
        return await self.ask("GET", f"{path}?{urlencode(query)}" if query else path, **headers)

    async def post(self, path: str, data: Mapping[str, Any], **headers: str) -> Any:
        """Post a form as it is."""
        body = encode_multipart(BOUNDARY, data)
        return await self.ask("POST", path, body, MULTIPART_CONTENT, **headers)

    async def submit(self, path: str, data: Mapping[str, Any], *, to: str = "") -> Any:
        """Fetch the page of a form, fill it in, and send it with the page's token."""
        page = await self.get(path)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert found is not None, page.text
        return await self.post(to or path, {**data, "csrfmiddlewaretoken": found[1]})


class LoopBrowser(Browser):
    """Asks Onloop's application in process."""

    def __init__(self, application: Any) -> None:
        super().__init__()
        self._application = application
        self._jar: dict[str, str] = {}

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._jar

    async def _ask(
        self, method: str, path: str, body: bytes, content_type: str, headers: dict[str, str]
    ) -> Answer:
        path, _, query = path.partition("?")
        sent = [*headers.items(), *([("content-type", content_type)] if body else [])]
        exchange = Exchange(
            self._application, path, method=method, query=query, body=body, headers=sent,
            cookies=self._jar,
        )  # fmt: skip
        await exchange
        for line in exchange.headers("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self._jar[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self._jar[name]
        received = {k.decode().lower(): v.decode() for k, v in exchange.messages[0]["headers"]}
        # A server leaves the body of an answer to HEAD away, as Django's client does.
        return Answer(exchange.status, received, "" if method == "HEAD" else exchange.text)


class WsgiBrowser(Browser):
    """Asks Django's handler for WSGI, by its client, in a thread that is not the loop's."""

    def __init__(self) -> None:
        super().__init__()
        self._client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    @property
    def cookies(self) -> Mapping[str, str]:
        return {name: morsel.value for name, morsel in self._client.cookies.items()}

    async def _ask(self, *request: Any) -> Answer:
        return await asyncio.to_thread(self._ask_in_thread, *request)

    def _ask_in_thread(
        self, method: str, path: str, body: bytes, content_type: str, headers: dict[str, str]
    ) -> Answer:
        try:
            response: Any = self._client.generic(
                method, path, body, content_type, headers=headers
            )
            content = b"".join(response.streaming_content) if response.streaming else None
            text = (response.content if content is None else content).decode()
            received = {name.lower(): value for name, value in response.items()}
            return Answer(response.status_code, received, text)
        finally:
            connections.close_all()


Flow = Callable[[Any], Awaitable[None]]


@dataclass
class Flows:
    """Runs flows with the addresses of a test module; a fixture makes it."""

    databases: TestDatabases
    started_threads: list[threading.Thread]
    prepare: Callable[[], None]
    # Settings of the test module.
    settings: dict[str, Any]
    # Names of the threads that the flow has started on the loop, but for those of others.
    threads: list[str] = field(default_factory=list)

    async def compare(self, flow: Flow) -> list[Answer]:
        """Run `flow` on the loop, then under WSGI; return the answers on the loop.

        Asserts that every view was on the loop the first time, and that the answers are equal.
        """
        on_loop = await self.on_loop(flow)
        assert _places, "no view has said where it ran"
        assert set(_places) == {("bridge", threading.get_ident())}
        under_wsgi = await self.under_wsgi(flow)
        assert len(on_loop) == len(under_wsgi)
        for one, other in zip(on_loop, under_wsgi, strict=True):
            assert one.comparable == other.comparable, one.difference(other)
        return on_loop

    async def on_loop(self, flow: Flow, places: list[str] = ON_LOOP) -> list[Answer]:
        from onloop.asgi import get_asgi_application

        # No query is slow enough for a worker thread, on whatever machine.
        changed = {"ONLOOP": {"ON_LOOP": places, "SQLITE_INLINE_MS": 60_000}}
        with ExitStack() as stack:
            stack.enter_context(override_settings(**self.settings, **changed))
            await self._begin()
            browser = LoopBrowser(get_asgi_application())
            self.started_threads.clear()
            await flow(browser)
            self.threads = [
                thread.name
                for thread in self.started_threads
                if not thread.name.startswith(OTHERS)
            ]
        return browser.answers

    async def under_wsgi(self, flow: Flow) -> list[Answer]:
        with override_settings(**self.settings):
            await self._begin()
            browser = WsgiBrowser()
            await flow(browser)
        assert "bridge" not in dict(_places)
        return browser.answers

    async def _begin(self) -> None:
        self.databases.clean()
        cache.clear()
        await bridge.run(self.prepare)
        _places.clear()


def where_views_ran() -> set[str]:
    return {place for place, _ in _places}
