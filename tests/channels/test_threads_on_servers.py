"""The threads of a server process stay those that it has, however many messages come.

`ONLOOP_RELIABILITY_SCALE=full`: 10,000 messages on 500 sockets; the short form has 1,000 on 50.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import psutil
import pytest

from onloop.db.backends.sqlite3 import worker
from tests.channels.test_servers import DAPHNE, HYPERCORN, UVICORN, ask, opened, served_by
from tests.db.eventually import eventually
from tests.project.library.models import Author, Book
from tests.reliability.findings import Findings
from tests.reliability.scale import LONG_S, size

pytestmark = pytest.mark.timeout(LONG_S)

SOCKETS = size(50, full=500)
MESSAGES = 20
# Of sockets that open at once: what a server's backlog holds.
OPENED_AT_ONCE = 50
LOOK_EVERY_S = 0.01
# The watchdog comes with the first message of all, and goes by itself when nothing runs;
# SQLite's come once a statement was slow, which the machine decides, and stay.
AT_ANY_TIME = ("onloop-watchdog", "onloop-sqlite")
MOST_AT_ANY_TIME = 1 + worker.WORKERS


@pytest.fixture
def books(db_clean):
    author = Author.objects.create(name="A. Loop")
    return [Book.objects.create(title="One", author=author, published="2001-01-01")]


@contextlib.asynccontextmanager
async def many_opened(server, path):
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        while len(sockets) < SOCKETS:
            some = min(OPENED_AT_ONCE, SOCKETS - len(sockets))
            opening = (stack.enter_async_context(opened(server, path)) for _ in range(some))
            sockets += await asyncio.gather(*opening)
        yield sockets


class Threads:
    """Those of a server's process, as the system counts them and as Python names them."""

    def __init__(self, server, findings):
        self._server = server
        self._findings = findings
        self._pid = None

    async def look(self, when):
        async with opened(self._server) as socket:
            process = await ask(socket, "process")
        self._pid = process["pid"]
        found = [name for name in process["threads"] if not name.startswith(AT_ANY_TIME)]
        self._findings.measured[f"threads {when}"] = len(found)
        return sorted(found)

    def count(self):
        """Of the system: those of libraries too, which Python does not know."""
        return psutil.Process(self._pid).num_threads()

    async def most_while(self, work):
        """The most that were seen of the system while `work` ran."""
        task = asyncio.ensure_future(work)
        most = self.count()
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_EVERY_S)
            most = max(most, self.count())
        await task
        return most


async def talk(sockets, rounds):
    async def one(socket):
        for _ in range(rounds):
            assert await ask(socket, "books") == [["One", "A. Loop"]]

    await asyncio.gather(*map(one, sockets))


@served_by(UVICORN, replace(UVICORN, loop="uvloop"), DAPHNE, HYPERCORN)
async def test_the_threads_are_the_same_at_the_beginning_in_the_middle_and_at_the_end(
    asgi_server, books
):
    findings = Findings(f"Threads, {asgi_server.serving.server}, {SOCKETS} sockets")
    threads = Threads(asgi_server, findings)
    async with many_opened(asgi_server, "/sockets/desk/") as sockets:
        await talk(sockets[:1], 1)
        beginning, counted = await threads.look("at the beginning"), threads.count()
        most = await threads.most_while(talk(sockets, MESSAGES // 2))
        middle = await threads.look("in the middle")
        most = max(most, await threads.most_while(talk(sockets, MESSAGES // 2)))
        end = await threads.look("at the end")
        findings.counts["messages"] = SOCKETS * MESSAGES
        findings.measured["of the system at the beginning"] = counted
        findings.measured["of the system at most"] = most
        findings.judge()
        assert beginning == middle == end
        assert most <= counted + MOST_AT_ANY_TIME


@served_by(UVICORN)
async def test_those_of_synchronous_consumers_end_with_their_messages(asgi_server, books):
    findings = Findings(f"Threads of synchronous consumers, {SOCKETS} sockets")
    threads = Threads(asgi_server, findings)
    # Before there is one: the threads of their first messages may still be ending afterwards.
    beginning = await threads.look("at the beginning")
    counted = threads.count()
    async with many_opened(asgi_server, "/sockets/desk-sync/") as sockets:
        for _ in range(2):
            most = await threads.most_while(talk(sockets, MESSAGES // 2))
            findings.measured["of the system at most"] = most
            await eventually(lambda: threads.count() <= counted + MOST_AT_ANY_TIME)
        findings.counts["messages"] = SOCKETS * MESSAGES
        findings.judge()

        async def as_at_the_beginning():
            return await threads.look("at the end") == beginning

        await eventually(as_at_the_beginning)
