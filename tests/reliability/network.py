"""The harness of R6: one fault of the network at one moment of a work, and what comes of it.

The work goes through a proxy that fails once: before the connection is there, while it lies in
the pool, while the pool checks it, in a query, in its answer, in COMMIT. A caller is to have a
result or a clear error within its time-out and a second, and the next work works.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import traceback
from typing import Any
from unittest import mock

from django.db import OperationalError, connection, connections, transaction
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from psycopg import connection_async

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.db.pool import pool as pool_module
from onloop.testing import FaultProxy
from onloop.testing.stacks import Stack
from tests.asgi.client import Exchange
from tests.db.helpers import afetch
from tests.project.library.models import Author
from tests.reliability.findings import Findings
from tests.reliability.kills import is_clear
from tests.reliability.scale import FULL, PATIENCE_S

FAULTS = ["cut", "reset", "half_open", "black_hole", "delay"]
MOMENTS = [
    "connecting",
    "idle",
    "checked",
    "query sent",
    "in the answer",
    "COMMIT half sent",
    "COMMIT sent",
]
# What comes of a COMMIT of which only a byte has passed. (The rest of it comes out of a black
# hole when that ends.)
NEVER_WHOLE = {"cut", "reset", "half_open"}
ANSWER_S = 0.5
# A work that meets no fault has more: a slow machine is none.
PATIENT_S = 60
# psycopg's own rule is at least two seconds.
CONNECT_S = 0.5
# What a caller has beyond its time-out.
GRACE_S = 1
DELAY_MS = 30
ROWS = 300
CLEAR = (OperationalError,)


class Work:
    """One work, run by a scope or by a request, and what its caller was told."""

    def __init__(self, harness: Network, number: int, moment: str, fault: str) -> None:
        self.harness = harness
        self.number = number
        self.moment = moment
        self.fault = fault
        self.rows: set[str] = set()
        self.told = "nothing"

    async def do(self) -> None:
        if self.moment.startswith("COMMIT"):
            await self._write()
        else:
            await self._read()

    async def _read(self) -> None:
        wanted = [(n + self.number, "x" * 100) for n in range(ROWS)]
        strike = {"query sent": {"direction": "up", "messages": 1}}.get(self.moment)
        if self.moment == "in the answer":
            strike = {"size": self.harness.chance.randrange(1, ROWS * 100)}
        if strike is not None:
            self.harness.strike(self.fault, **strike)
        seen = await bridge.run(_rows, self.number)
        if seen != wanted:
            self.harness.findings.add("wrong result", f"{self}: {len(seen)} rows")

    async def _write(self) -> None:
        async with transaction.atomic():
            for part in "ab":
                self.rows.add(f"{self.number}:{part}")
                await Author.objects.acreate(name=f"{self.number}:{part}")
            where = {"size": 1} if self.moment == "COMMIT half sent" else {"messages": 1}
            self.harness.strike(self.fault, direction="up", **where)

    def __str__(self) -> str:
        return f"{self.fault}, {self.moment}, work {self.number}"


class Network:
    """`await Network(seed, application, proxy).run(findings, fault, moment, by)`.

    `hang_s`: after so long a work hangs.
    """

    def __init__(
        self, seed: int, application: Any, proxy: FaultProxy, *, hang_s: float = PATIENCE_S
    ) -> None:
        self.chance = random.Random(seed)
        self.application = application
        self.proxy = proxy
        self.hang_s = hang_s
        self.works: list[Work] = []
        self.findings: Findings

    def strike(self, fault: str, **where: Any) -> None:
        """Let the network fail at a place in the stream, or (a delay) from now on."""
        if fault == "delay":
            self.proxy.delay(DELAY_MS)
        else:
            action: Any = fault
            self.proxy.when(action, **where)

    async def run(self, findings: Findings, fault: str, moment: str, by: str) -> None:
        """Go through one fault; `by`: "scope" or "request".

        `default` has a pool of two.
        """
        global running  # noqa: PLW0603 - views are functions of the module
        running = self
        self.findings = findings
        work = Work(self, len(self.works), moment, fault)
        self.works.append(work)
        self._limit(PATIENT_S)
        await self._warm()
        idle = list(self._pool().idle)
        with contextlib.ExitStack() as patched:
            if moment == "checked":
                patched.enter_context(mock.patch.object(pool_module, "CHECK_AFTER_S", 0))
            if moment == "connecting":
                patched.enter_context(
                    mock.patch.object(
                        connection_async, "timeout_from_conninfo", return_value=CONNECT_S
                    )
                )
            self._prepare(fault, moment)
            self._limit(ANSWER_S)
            began = time.monotonic()
            await self._in_time(work, by)
            self._note_time(work, time.monotonic() - began)
        self.proxy.forward()
        self._limit(PATIENT_S)
        await self._look_at_the_pool(work, idle)
        await self._until_it_may_try()  # a slow machine's attempts may fail at any moment
        await self._next_works(work)

    def _limit(self, answer_timeout_s: float) -> None:
        """Set the time-out of connections to come and of those that lie in the pool."""
        connections.settings["default"]["OPTIONS"]["answer_timeout"] = answer_timeout_s
        for pool in pools.pools_of(asyncio.get_running_loop()):
            for idle in pool.idle:
                idle.answer_timeout_s = idle.limit_s = answer_timeout_s

    async def _warm(self) -> None:
        """Have two idle connections."""
        meeting = asyncio.Barrier(2)

        async def use() -> None:
            async with onloop.scope():
                await bridge.run(connection.ensure_connection)
                await meeting.wait()

        await asyncio.gather(use(), use())

    def _prepare(self, fault: str, moment: str) -> None:
        if moment == "connecting":
            pools.close_pools(alias="default")
            self.strike(fault, size=1)
        elif moment == "checked":
            self.strike(fault, direction="up", messages=1)
        elif moment == "idle":
            arguments = [DELAY_MS] if fault == "delay" else []
            getattr(self.proxy, fault)(*arguments)

    async def _in_time(self, work: Work, by: str) -> None:
        coro = self._request(work) if by == "request" else self._scope(work)
        task = asyncio.create_task(coro)
        done, _ = await asyncio.wait({task}, timeout=self.hang_s)
        if not done:
            self.findings.add("hangs", f"{work}\n{Stack.of(task)}")
            self.proxy.forward()
            task.cancel()
            await asyncio.wait({task})
            return
        if exc := task.exception():
            work.told = "failed"
            if not is_clear(exc, CLEAR):  # type: ignore[arg-type]
                told = "".join(traceback.format_exception(exc))
                self.findings.add("unclear error", f"{work}: {told}")
        elif work.told == "nothing":
            work.told = "done"
        self.findings.counts[work.told] += 1

    async def _scope(self, work: Work) -> None:
        async with onloop.scope():
            await work.do()

    async def _request(self, work: Work) -> None:
        exchange = await Exchange(self.application, f"/{work.number}/", method="POST")
        work.told = "done" if exchange.status == 200 else "failed"
        if exchange.status not in {200, 503}:
            self.findings.add("wrong answer", f"{work}: {exchange.status}")

    def _note_time(self, work: Work, took_s: float) -> None:
        limit_s = CONNECT_S if work.moment == "connecting" else ANSWER_S
        beyond_s = took_s - limit_s
        measured = self.findings.measured
        key = "longest beyond the time-out s"
        measured[key] = max(beyond_s, measured.get(key, beyond_s))
        if FULL and beyond_s > GRACE_S:
            self.findings.add("late", f"{work}: {took_s:.2f} s")

    # --- afterwards -----------------------------------------------------------------------

    def _pool(self) -> Any:
        (pool,) = [
            pool
            for pool in pools.pools_of(asyncio.get_running_loop())
            if pool.name == "default"
        ]
        return pool

    async def _look_at_the_pool(self, work: Work, before: list[Any]) -> None:
        """What lies there is idle at the server, as far as the driver knows."""
        await asyncio.sleep(0)  # the scope of a task ends just after it
        for found in self._pool().idle:
            if found in before and not found.closed and not found.is_clean:
                self.findings.add("unknown state in the pool", f"{work}: {found}")

    async def _until_it_may_try(self) -> None:
        while (left_s := self._pool().retry_at - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    async def _next_works(self, work: Work) -> None:
        """The next works have results, and their own."""
        for n in range(3):
            wanted = work.number * 1000 + n
            try:
                async with asyncio.timeout(self.hang_s), onloop.scope():
                    seen = await afetch("SELECT %s + 0", [wanted])
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is the finding
                self.findings.add("next work failed", f"{work}: {exc!r}")
            else:
                if seen != wanted:
                    self.findings.add("wrong result", f"after {work}: {seen}, not {wanted}")

    def check_rows(self, rows: dict[int, set[str]]) -> None:
        """Done: there, whole. Failed before its COMMIT was whole: not there."""
        for work in self.works:
            there = rows.get(work.number, set())
            if work.told == "done" and there != work.rows:
                self.findings.add("lost although reported as done", f"{work}: {there}")
            elif there and work.moment == "COMMIT half sent" and work.fault in NEVER_WHOLE:
                self.findings.add("there although it was never committed", work)
            elif there and there != work.rows:
                self.findings.add("half a transaction", f"{work}: {there}")


def _rows(first: int) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n + %s, repeat('x', 100) FROM generate_series(0, %s) n", [first, ROWS - 1]
        )
        return cursor.fetchall()


running: Network


@csrf_exempt
async def do(request, number):  # type: ignore[no-untyped-def]
    await running.works[number].do()
    return HttpResponse()


urlpatterns = [path("<int:number>/", do)]
