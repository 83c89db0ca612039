"""The harness of R5: back ends that are killed while tasks work, on a schedule by count.

Every few steps of the work, `pg_terminate_backend` ends a back end of the pool: any of them, or
that of the very task that takes the step, so that BEGIN, a statement, a savepoint and COMMIT
are hit alike. Every operation notes what it was told, and an outsider's look at the rows says
whether that was true.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

import onloop
from onloop.testing.stacks import Stack
from tests.asgi.client import Exchange
from tests.database import APPLICATION_NAME
from tests.db.eventually import eventually
from tests.db.helpers import afetch
from tests.project.library.models import Author
from tests.reliability.findings import Findings
from tests.reliability.scale import HANG_S

FIXED = [f"fixed {n}" for n in range(20)]
# What the driver and Django say of a connection that is gone.
CLEAR = (OperationalError, InterfaceError)


def is_clear(exc: Exception, clear: tuple[type[Exception], ...] = CLEAR) -> bool:
    if isinstance(exc, ExceptionGroup):
        return all(is_clear(inner, clear) for inner in exc.exceptions)
    return isinstance(exc, clear)


class Operation:
    """One operation: how far it came, and what its caller was told."""

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.rows: set[str] = set()
        self.body_done = False
        self.told = "nothing"

    def row(self, part: str) -> str:
        name = f"{self.number}:{part}"
        self.rows.add(name)
        return name


class Killer:
    """`await killer.step()` ends a back end each time `every` steps were taken."""

    def __init__(self, outsider: Any, chance: random.Random, every: int) -> None:
        self._outsider = outsider
        self._chance = chance
        self._every = every
        self._steps = 0
        self.killed: list[int] = []

    async def step(self) -> None:
        self._steps += 1
        if self._steps % self._every:
            return
        own = self._chance.random() < 0.5 and connection.connection is not None
        if own:
            self.kill([connection.connection.info.backend_pid])
        elif pids := self.back_ends():
            self.kill([self._chance.choice(pids)])

    def back_ends(self) -> list[int]:
        found = self._outsider.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = %s ORDER BY backend_start",
            [APPLICATION_NAME],
        )
        return [pid for (pid,) in found]

    def kill(self, pids: list[int]) -> None:
        for pid in pids:
            # Waiting for its end or not makes the difference between a connection that is
            # closed and one that is about to be.
            wait_ms = self._chance.choice([0, 2000])
            self._outsider.execute("SELECT pg_terminate_backend(%s, %s)", [pid, wait_ms])
            self.killed.append(pid)

    async def until_gone(self) -> None:
        killed = set(self.killed)
        await eventually(lambda: not killed & set(self.back_ends()), "the end of the killed")


class Kills:
    """`await Kills(seed, application, outsider, …).run(findings)`."""

    def __init__(
        self,
        seed: int,
        application: Any,
        outsider: Any,
        *,
        count: int,
        workers: int,
        every: int,
        stop_early: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.application = application
        self.count = count
        self.workers = workers
        self.stop_early = stop_early
        self.killer = Killer(outsider, self.chance, every)
        self.operations: list[Operation] = []
        self._findings: Findings
        self._kinds: dict[str, Callable[[Operation], Any]] = {
            "read": self._read,
            "rows": self._rows,
            "write": self._write,
            "savepoint": self._savepoint,
            "autocommit": self._autocommit,
            "gather": self._gather,
            "request": self._request,
        }

    async def run(self, findings: Findings) -> None:
        """Work through `count` operations with `workers` tasks, then kill every back end."""
        global running  # noqa: PLW0603 - views are functions of the module
        running = self
        self._findings = findings
        tasks = {
            asyncio.create_task(self._work(), name=f"worker {n}") for n in range(self.workers)
        }
        _, hanging = await asyncio.wait(tasks, timeout=HANG_S)
        for task in hanging:
            findings.add("hangs", f"{task.get_name()}\n{Stack.of(task)}")
            task.cancel()
        for task in tasks - hanging:
            task.result()
        self.killer.kill(self.killer.back_ends())
        await self.killer.until_gone()
        findings.counts["kills"] += len(self.killer.killed)

    async def _work(self) -> None:
        while len(self.operations) < self.count:
            if self.stop_early and self._findings.kinds:
                return
            number = len(self.operations)
            operation = Operation(number, self.chance.choice(list(self._kinds)))
            self.operations.append(operation)
            try:
                if self.chance.random() < 0.5:
                    async with onloop.scope():
                        await self._kinds[operation.kind](operation)
                else:
                    await asyncio.create_task(self._kinds[operation.kind](operation))
            except Exception as exc:  # noqa: BLE001 - any that is not clear is a finding
                operation.told = "failed"
                if not is_clear(exc):
                    told = "".join(traceback.format_exception(exc))
                    self._findings.add("unclear error", f"{operation.kind}: {told}")
            else:
                if operation.told == "nothing":
                    operation.told = "done"

    # --- operations -----------------------------------------------------------------------

    async def _read(self, operation: Operation) -> None:
        await self.killer.step()
        wanted = operation.number * 7919
        seen = await afetch("SELECT %s + 0", [wanted])
        if seen != wanted:
            self._findings.add("wrong result", f"{seen!r}, not {wanted!r}")

    async def _rows(self, operation: Operation) -> None:
        seen = []
        rows = Author.objects.filter(name__startswith="fixed").order_by("id")
        async for author in rows.aiterator(chunk_size=4):
            seen.append(author.name)
            if len(seen) % 4 == 0:
                await self.killer.step()
        if seen != FIXED:
            self._findings.add("wrong result", f"rows {seen}")

    async def _write(self, operation: Operation) -> None:
        async with transaction.atomic():
            await self.killer.step()
            await Author.objects.acreate(name=operation.row("a"))
            await self.killer.step()
            await Author.objects.acreate(name=operation.row("b"))
            await self.killer.step()
            operation.body_done = True

    async def _savepoint(self, operation: Operation) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=operation.row("outer"))
            with contextlib.suppress(LookupError):
                async with transaction.atomic():
                    await Author.objects.acreate(name=f"{operation.number}:undone")
                    await self.killer.step()
                    raise LookupError
            async with transaction.atomic():
                await self.killer.step()
                await Author.objects.acreate(name=operation.row("inner"))
            operation.body_done = True

    async def _autocommit(self, operation: Operation) -> None:
        await self.killer.step()
        operation.body_done = True  # a single statement may have been done, or not
        await Author.objects.abulk_create([Author(name=operation.row("only"))])

    async def _gather(self, operation: Operation) -> None:
        async def write(part: str) -> None:
            await self.killer.step()
            await Author.objects.acreate(name=operation.row(part))

        async with transaction.atomic():
            async with asyncio.TaskGroup() as group:
                for part in "abc":
                    group.create_task(write(part))
            operation.body_done = True

    async def _request(self, operation: Operation) -> None:
        exchange = await Exchange(
            self.application, f"/write/{operation.number}/", method="POST"
        )
        operation.told = "done" if exchange.status == 200 else "failed"
        if exchange.status not in {200, 503}:
            self._findings.add("wrong answer", exchange.status)

    # --- what came of it ------------------------------------------------------------------

    def check_rows(self, rows: dict[int, set[str]]) -> None:
        """Done: there, whole. Failed before its COMMIT: not there. Else: whole or not there."""
        findings = self._findings
        for operation in self.operations:
            there = rows.get(operation.number, set())
            who = f"{operation.kind} {operation.number}: {sorted(there)}"
            findings.counts[operation.told] += 1
            if operation.told == "done":
                if there != operation.rows:
                    findings.add("lost although reported as done", who)
            elif there and not operation.body_done:
                findings.add("there although it failed before COMMIT", who)
            elif there and there != operation.rows:
                findings.add("half a transaction", who)
            elif operation.body_done:
                findings.counts["of unknown outcome"] += 1


running: Kills


@csrf_exempt
async def write(request, number):
    await running._write(running.operations[number])
    return HttpResponse()


urlpatterns = [path("write/<int:number>/", write)]
