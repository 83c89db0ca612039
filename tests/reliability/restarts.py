"""The harness of R4: a server that is shut down and started again while tasks work.

The operations are those of R5's harness, each with a short wait at the server in its middle, so
that most are in a query when the server goes. What failed before its COMMIT is tried again, as
a client would: its rows must be there once in the end.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Collection
from typing import Any

from django.db import OperationalError

import onloop
from tests.db.helpers import afetch
from tests.postgres import PostgresServer
from tests.reliability import kills
from tests.reliability.findings import Findings
from tests.reliability.kills import Kills, Operation, is_clear
from tests.reliability.scale import FULL, HANG_S, PATIENCE_S

# So many works in a row, begun after the server's return, are the full rate.
IN_A_ROW = 30
FULL_RATE_S = 5
CLEAR = (OperationalError,)
# Operations that come to the end of a block, or fail.
BLOCKS = {"write", "savepoint", "gather", "request"}


class Pace:
    """`await pace.step()` is in a query for a while."""

    async def step(self) -> None:
        await afetch("SELECT pg_sleep(0.004)")


class Restarts(Kills):
    """`await Restarts(seed, application, server, …).run(findings)`.

    `patience_s`: how long the full rate may take to be back. `kinds`: of operations, or all.
    """

    def __init__(
        self,
        seed: int,
        application: Any,
        server: PostgresServer,
        *,
        restarts: int,
        workers: int,
        patience_s: float,
        kinds: Collection[str] = (),
    ) -> None:
        super().__init__(seed, application, None, count=0, workers=workers, every=1)
        self.killer: Any = Pace()
        if kinds:
            self._kinds = {kind: self._kinds[kind] for kind in kinds}
        self.server = server
        self.restarts = restarts
        self.patience_s = patience_s
        self._stopped = False
        # Of attempts that began since the server was back: those that were done in a row.
        self._in_a_row = 0
        self._failed = 0
        self._times_back = 0

    async def run(self, findings: Findings) -> None:
        kills.running = self  # views are functions of its module
        self._findings = findings
        tasks = {
            asyncio.create_task(self._work(), name=f"worker {n}") for n in range(self.workers)
        }
        try:
            for number in range(self.restarts):
                if not await self._restart(("fast", "immediate")[number % 2]):
                    break
        finally:
            self._stopped = True
            _, hanging = await asyncio.wait(tasks, timeout=HANG_S)
            for task in hanging:
                findings.add("hangs", task.get_name())
                task.cancel()
        for task in tasks - hanging:
            task.result()

    async def _restart(self, way: str) -> bool:
        findings = self._findings
        await self._until(lambda: self._in_a_row >= IN_A_ROW, PATIENCE_S)
        self._failed = 0
        await asyncio.to_thread(self.server.halt, way)
        if not await self._until(lambda: self._failed >= self.workers, PATIENCE_S):
            findings.add("nobody noticed", way)
        await asyncio.to_thread(self.server.resume)
        findings.counts[f"{way} restarts"] += 1
        self._times_back += 1
        self._in_a_row = 0
        began = time.monotonic()
        back = await self._until(lambda: self._in_a_row >= IN_A_ROW, self.patience_s)
        took_s = time.monotonic() - began
        longest = max(took_s, findings.measured.get("longest until the full rate s", 0))
        findings.measured["longest until the full rate s"] = longest
        if not back or (FULL and took_s > FULL_RATE_S):
            findings.add("the full rate is not back in time", f"{took_s:.1f} s after {way}")
        return back

    async def _until(self, condition: Any, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    # --- the load -------------------------------------------------------------------------

    async def _work(self) -> None:
        while not self._stopped:
            number = len(self.operations)
            operation = Operation(number, self.chance.choice(list(self._kinds)))
            self.operations.append(operation)
            while not await self._settled(operation) and not self._stopped:
                self._findings.counts["retried"] += 1
                await asyncio.sleep(0.01)  # a client that is told at once does not ask at once

    async def _settled(self, operation: Operation) -> bool:
        """Try once; False if nothing has been done and it can be tried again."""
        times_back = self._times_back
        operation.told, operation.body_done = "nothing", False
        try:
            if operation.number % 2:
                async with onloop.scope():
                    await self._kinds[operation.kind](operation)
            else:
                await asyncio.create_task(self._kinds[operation.kind](operation))
        except Exception as exc:  # noqa: BLE001 - any that is not clear is a finding
            operation.told = "failed"
            if not is_clear(exc, CLEAR):
                told = "".join(traceback.format_exception(exc))
                self._findings.add("unclear error", f"{operation.kind}: {told}")
        if operation.told == "nothing":
            operation.told = "done"
        if operation.told == "done":
            if operation.kind in BLOCKS and not operation.body_done:
                self._findings.add("lost although reported as done", operation.kind)
            self._in_a_row += times_back == self._times_back
            return True
        self._failed += 1
        self._in_a_row = 0
        return operation.body_done

    # --- what came of it --------------------------------------------------------------------

    def check_once(self, outsider: Any) -> None:
        """No row is there twice, whatever was tried again."""
        for name, count in outsider.execute(
            "SELECT name, count(*) FROM library_author GROUP BY name HAVING count(*) > 1"
        ):
            self._findings.add("there more than once", f"{count} x {name}")
