"""A server of R8, R11 and R13 from outside: what it says, and what the system says of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

from tests.reliability.findings import Findings
from tests.reliability.scale import LONG_S, RULE_S
from tests.reliability.wire import Client
from tests.servers import AsgiServer, Serving, start

SITE = "tests.reliability.load_site:application"
MIB = 2**20
# Connections of the pool that a server has.
POOL = 10


async def send(port: int, paths: Sequence[str], findings: Findings, *, at_once: int) -> None:
    """Ask for `paths` in turn, by `at_once` clients that keep their connections."""
    left = iter(paths)

    async def work() -> None:
        async with Client(port) as client:
            for path in left:
                answer = await client.get(path)
                if answer.status != 200:
                    findings.add("wrong answer", f"{path}: {answer.status}")
                findings.counts["requests"] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


class Loaded:
    """`async with Loaded(findings, folder, …) as server:`, and the rule at its end.

    `limits` becomes the setting ONLOOP, `pool` further options of the pool of `default`.
    `patience_s` is shorter where a fault is planted, which would use it up.
    """

    def __init__(
        self,
        findings: Findings,
        folder: Path,
        *,
        loop: str = "asyncio",
        pool: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        site: str = SITE,
        patience_s: float = RULE_S,
    ) -> None:
        self._findings = findings
        self._folder = folder
        self._patience_s = patience_s
        options = {"max_size": POOL, **(pool or {})}
        self._serving = Serving(
            "uvicorn", loop, site,
            env=(
                ("ONLOOP_TEST_DATABASE_OPTIONS", json.dumps({"pool": options})),
                ("ONLOOP_TEST_ONLOOP", json.dumps(limits or {})),
            ),
            # The connection that `ask` uses is idle for as long as a load takes.
            arguments=("--backlog", "4096", "--timeout-keep-alive", str(LONG_S)),
        )  # fmt: skip
        self._server: AsgiServer

    async def __aenter__(self) -> Loaded:
        self._server = await asyncio.to_thread(start, self._serving, self._folder)
        self._process = psutil.Process(self._server.pid)
        self.port = self._server.port
        self._client = await Client(self.port).__aenter__()
        await self.ask("/stats/")
        return self

    async def __aexit__(self, exc_type: object, *exc: object) -> None:
        try:
            if exc_type is None:
                await self._rule()
        finally:
            await self._client.__aexit__()
            await asyncio.to_thread(self._server.stop)

    async def ask(self, path: str) -> Any:
        """Ask for one of the views that are answered whatever the load."""
        return json.loads((await self._client.get(path)).body)

    @property
    def memory(self) -> int:
        """Resident memory of the process, in bytes."""
        return int(self._process.memory_info().rss)

    async def remember(self) -> None:
        """Take what is there once it is quiet, for what there should be at the end."""
        self._before = {"requests": 1, "sockets": 0, "connections lent": 0}  # who asks is one
        self._before = await self.settle()
        if connection.vendor == "sqlite":
            # A connection is up to three files, and slow statements have workers.
            self._before["descriptors"] += 2 * POOL
            self._before["threads"] += POOL

    async def _state(self) -> dict[str, int]:
        stats = await self.ask("/stats/")
        pool = stats["pool"]
        return {
            "requests": stats["served"] + stats["queued"],
            "sockets": stats["sockets"],
            "tasks": stats["tasks"],
            "threads": stats["threads"],
            "descriptors": self._process.num_fds() - pool["pool_size"],
            "connections of clients": len(self._process.net_connections("tcp")),
            "connections lent": pool["pool_size"] - pool["pool_available"],
            "requests waiting": pool["requests_waiting"],
        }

    async def settle(self) -> dict[str, int]:
        """Wait for what was remembered, clients' connections included; return what there is."""
        deadline = time.monotonic() + self._patience_s
        while True:
            state = await self._state()
            if all(state[what] <= most for what, most in self._before.items()):
                return state
            if time.monotonic() > deadline:
                return state
            await asyncio.sleep(0.02)

    async def _rule(self) -> None:
        """5 s after it goes quiet nothing is left behind, and the next request works."""
        after = await self.settle()
        for what, count in after.items():
            if count > self._before[what]:
                self._findings.add(f"left behind: {what}", f"{count}, not {self._before[what]}")
        async with Client(self.port) as client:
            if (status := (await client.get("/thread/")).status) != 200:
                self._findings.add("next work failed", status)
