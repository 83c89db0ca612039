"""The harness of R12: a server under load is told to end at a random moment.

Clients send requests that write rows, over connections that they keep. After a number of
answers that chance has chosen the server gets SIGTERM. Then what the application noted, what
the clients were answered and the rows that are there must fit together.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.db import connection

from tests.reliability.findings import Findings
from tests.reliability.scale import HANG_S, PATIENCE_S, SHORT
from tests.reliability.wire import CUT, Client
from tests.servers import AsgiServer, Serving, start

CLIENTS = 16
# Beyond what any server waits for: such a request is cancelled. Ten minutes.
FOR_EVER_MS = 600_000
# As the server's connections are called in pg_stat_activity; no other test's server is.
BACK_ENDS = "onloop-r12"
SITE = "tests.reliability.terms_site:application"


@dataclass(frozen=True)
class Ending:
    """How a server ends by its own documentation; docs/deployment.md has the table."""

    arguments: tuple[str, ...] = ()
    # Seconds after which it cancels what is under way, if it does.
    cancels_after_s: float | None = None
    # It waits for what is under way at all.
    finishes: bool = True
    # It lets responses that have begun be sent to their ends.
    finishes_streams: bool = True
    # It does not close a kept connection under a request that comes at this very moment.
    spares_kept: bool = True
    lifespan: bool = True
    codes: tuple[int, ...] = (0,)
    # Seconds from SIGTERM to the end of the process, at most.
    within_s: float = PATIENCE_S if SHORT else 12.0


ENDINGS = {
    "uvicorn": Ending(
        ("--timeout-graceful-shutdown", "1"), cancels_after_s=1, codes=(-signal.SIGTERM,)
    ),
    "hypercorn": Ending(spares_kept=False),
    "granian": Ending(("--workers-kill-timeout", "10"), finishes_streams=False),
    "daphne": Ending(finishes=False, finishes_streams=False, lifespan=False),
}


class Request:
    """One request of a client's, and its fate."""

    def __init__(self, number: int, kind: str, wait_ms: int) -> None:
        self.number = number
        self.kind = kind
        self.wait_ms = wait_ms
        self.status = 0  # none came, or not all of the answer
        self.body = b""
        self.is_first = False  # of its connection

    @property
    def is_for_ever(self) -> bool:
        return self.wait_ms == FOR_EVER_MS

    @property
    def is_done(self) -> bool:
        return self.status == 200 and self.body == f"written {self.number}".encode()

    def __str__(self) -> str:
        fate = f"{self.status} {self.body[:40]!r}" if self.status else "no answer"
        return f"{self.kind} {self.number}, {self.wait_ms} ms: {fate}"


class Term:
    """One server, its load, and its end: `await Term(...).run(findings)`."""

    def __init__(
        self, seed: int, server: str, folder: Path, *, site: str = SITE, loop: str = "asyncio"
    ) -> None:
        self.chance = random.Random(seed)
        self.ending = ENDINGS[server]
        self.requests: list[Request] = []
        self._journal = folder / f"journal-{server}-{seed}"
        self._folder = folder
        self._serving = Serving(
            server, loop, site,
            env=(("ONLOOP_TEST_JOURNAL", str(self._journal)), ("PGAPPNAME", BACK_ENDS)),
            arguments=self.ending.arguments,
        )  # fmt: skip
        self._answers = 0
        self._told_at = 0.0
        # Cancelled when the server's time for them was over.
        self._late: set[int] = set()

    async def run(self, findings: Findings) -> None:
        """Serve, load, end; what is wrong is added to `findings`."""
        self._findings = findings
        server = await asyncio.to_thread(start, self._serving, self._folder)
        family = psutil.Process(server.pid).children(recursive=True)
        try:
            await self._load_and_end(server)
        finally:
            if server.process.poll() is None:
                findings.add("did not end", server.log_text()[-2000:])
                os.killpg(server.pid, signal.SIGKILL)
                server.process.wait()
        if alive := psutil.wait_procs(family, timeout=60)[1]:
            findings.add("left behind: processes", alive)
        self._check_end(server)

    async def _load_and_end(self, server: AsgiServer) -> None:
        wanted = self.chance.randrange(CLIENTS, 6 * CLIENTS)
        clients = [asyncio.create_task(self._client(server.port)) for _ in range(CLIENTS)]
        try:
            async with asyncio.timeout(HANG_S):
                while self._answers < wanted:
                    await asyncio.sleep(0.002)
                told_at = self._told_at = time.monotonic()
                server.process.terminate()
                await asyncio.to_thread(server.process.wait, self.ending.within_s)
                took_s = time.monotonic() - told_at
                await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
        longest = self._findings.measured.get("longest end s", 0.0)
        self._findings.measured["longest end s"] = max(longest, took_s)

    # --- the clients --------------------------------------------------------------------------

    def _next(self) -> Request:
        kind = self.chance.choice(["write", "write", "asleep", "thread", "stream"])
        number = len(self.requests)
        if connection.vendor == "sqlite":  # where writers come one after the other
            request = Request(number, kind, self.chance.choice([0, 0, 1, 10]))
            self.requests.append(request)
            return request
        wait_ms = self.chance.choice([0, 0, 0, 20, 150])
        # A thread cannot be cancelled, and two of sixteen clients may wait for ever.
        if self.ending.cancels_after_s is not None and number in (
            CLIENTS // 2,
            2 * CLIENTS // 3,
        ):
            kind, wait_ms = self.chance.choice(["write", "asleep"]), FOR_EVER_MS
        request = Request(number, kind, wait_ms)
        self.requests.append(request)
        return request

    async def _client(self, port: int) -> None:
        """Ask over one connection after another, until none can be had any more."""
        while True:
            try:
                async with Client(port) as client:
                    request = self._next()
                    request.is_first = True
                    while await self._ask(request, client):
                        self._answers += 1
                        request = self._next()
            except OSError:
                return

    async def _ask(self, request: Request, client: Client) -> bool:
        """Send a request and read its answer; False if the connection is of no use any more."""
        path = f"/{request.kind}/{request.wait_ms}/{request.number}/"
        try:
            answer = await client.get(path, method="POST")
        except CUT:
            return False
        request.status, request.body = answer.status, answer.body
        return answer.keeps

    # --- what came of it ----------------------------------------------------------------------

    def check(self, rows: dict[int, set[str]]) -> None:
        """Compare journal, answers and rows."""
        events: dict[str, set[int]] = defaultdict(set)
        for line in self._journal.read_text().splitlines():
            event, *words = line.split()
            if event in ("received", "commits", "ended"):
                events[event].add(int(words[0]))
            if event == "cancelled" and self._is_late(float(words[1])):
                self._late.add(int(words[0]))
        for request in self.requests:
            received = request.number in events["received"]
            there = rows.pop(request.number, set())
            self._check_request(request, received, request.number in events["commits"], there)
            if received and request.number not in events["ended"] and self.ending.finishes:
                self._findings.add("never ended", request)
        for number, names in rows.items():
            self._findings.add("rows that nobody asked for", f"{number}: {names}")

    def _is_late(self, cancelled_at: float) -> bool:
        after_s = self.ending.cancels_after_s
        return after_s is not None and cancelled_at >= self._told_at + after_s

    def _check_request(
        self, request: Request, received: bool, commits: bool, there: set[str]
    ) -> None:
        findings = self._findings
        whole = there == {f"{request.number}:{part}" for part in "ab"}
        if there and not whole:
            findings.add("half a transaction", f"{request}: {there}")
        if request.is_done:
            findings.counts["done"] += 1
            if not whole:
                findings.add("lost although reported as done", request)
        elif not received:
            findings.counts["never received"] += 1
            if request.status or there:
                findings.add("answered by nobody", request)
        elif request.is_for_ever:
            findings.counts["cancelled"] += 1
            if there:
                findings.add("there although cancelled", request)
            if request.status not in (0, 500, 503):
                findings.add("wrong answer", request)
        else:
            promised = self.ending.finishes and (request.is_first or self.ending.spares_kept)
            if request.kind == "stream" and commits:
                promised = self.ending.finishes_streams
            if request.number in self._late:  # on a machine that is slow
                findings.counts["not done in time"] += 1
            elif promised:
                findings.add("lost", request)
            else:
                findings.counts["cut off"] += 1
            if there and not commits:
                findings.add("there although it failed before COMMIT", request)

    def _check_end(self, server: AsgiServer) -> None:
        findings = self._findings
        findings.counts["SIGTERMs"] += 1
        if server.process.returncode not in self.ending.codes:
            findings.add("exit code", server.process.returncode)
        if not self.ending.lifespan:
            return
        words = [line.split() for line in self._journal.read_text().splitlines()]
        seen = Counter(word[0] for word in words)
        if (seen["entered"], seen["left"], seen["lifespan"]) != (1, 1, 1):
            findings.add("no proper shutdown", f"{seen}\n{server.log_text()[-2000:]}")
        for word in words:
            if word[0] == "left" and word[1] != "0":
                findings.add("hooks left under requests", f"{word[1]} of them")
            if word[0] == "lifespan" and word[1:] != ["0", "0"]:
                findings.add("left behind: pools, requests", word[1:])
        for phrase in ("is closed while", "never awaited", "was destroyed", "left open"):
            if phrase in server.log_text():
                findings.add("log", server.log_text()[-2000:])
