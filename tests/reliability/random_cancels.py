"""The harness of R2: requests and tasks that are cancelled at random waits.

Every choice comes from the seed: which works, in which order, cancelled at which of their
waits, how (the server's `task.cancel()`, once or twice, the client's leaving, a time-out), and
at which moment of the wait. What an outsider then sees in the database is compared with what
each unit of work says about itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from django.db import connection

import onloop
from onloop.testing.stacks import Stack
from tests.asgi.client import Exchange
from tests.db.eventually import eventually
from tests.reliability import works
from tests.reliability.findings import Findings
from tests.reliability.scale import PATIENCE_S
from tests.reliability.works import Unit

# Few works wait more often than this; those that do not get there are left alone.
WAITS = {"postgresql": 14, "sqlite": 5}

WAYS = ["cancel", "cancel", "cancel twice", "cancel in between", "time-out", "no cancel"]
WAYS_OF_REQUESTS = [*WAYS, "client leaves", "client leaves and cancel"]


class AtWait(Coroutine[Any, Any, Any]):
    """Drives a coroutine and calls `act(waited_for)` at its n-th wait, counted from 0."""

    def __init__(self, coro: Coroutine[Any, Any, Any], n: int, act: Callable[[Any], None]):
        self._coro = coro
        self._left = n
        self._act = act

    def send(self, value: Any) -> Any:
        return self._waits(self._coro.send(value))

    def throw(self, *exc: Any) -> Any:
        return self._waits(self._coro.throw(*exc))

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _waits(self, waited_for: Any) -> Any:
        if self._left == 0:
            self._act(waited_for)
        self._left -= 1
        return waited_for


class Victim:
    """One unit of work in its task, and how it is cancelled."""

    def __init__(self, unit: Unit, way: str, chance: random.Random) -> None:
        self.unit = unit
        self.way = way
        self.asked = 0
        self.left = False
        self.timed_out = False
        self.answered = chance.random() < 0.5
        self.passes = chance.choice([1, 1, 2, 3, 8])
        self.at = chance.randrange(WAITS[connection.vendor])
        self.exchange: Exchange | None = None
        self._limit: asyncio.Timeout | None = None
        self.task: asyncio.Task[Any]

    def begin(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if self.way == "time-out":
            coro = self._limited(work)
        else:
            coro = AtWait(work(), self.at, self._act)
        # Named so that no fixture takes it for its own.
        self.task = asyncio.get_running_loop().create_task(coro, name=f"victim {self.unit}")

    async def _limited(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async with asyncio.timeout(None) as self._limit:
            await AtWait(work(), self.at, self._act)

    def _act(self, waited_for: Any) -> None:
        if self.answered and hasattr(waited_for, "add_done_callback"):
            # Before the task is woken: what it waits for is there, and it has not been told.
            waited_for.add_done_callback(lambda _: self._strike())
        else:
            self._strike()

    def _strike(self) -> None:
        if self.task.done():
            return
        if self.way == "time-out":
            assert self._limit is not None
            self._limit.reschedule(0)
            self.timed_out = True
        if self.way.startswith("client leaves"):
            assert self.exchange is not None
            self.exchange.leave()
            self.left = True
        if self.way.startswith("cancel") or self.way == "client leaves and cancel":
            self._cancel()
        if self.way == "cancel twice":
            asyncio.get_running_loop().call_soon(self._cancel)
        if self.way == "cancel in between":
            self._cancel_after(self.passes)

    def _cancel_after(self, passes: int) -> None:
        loop = asyncio.get_running_loop()
        if passes:
            loop.call_soon(self._cancel_after, passes - 1)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if not self.task.done() and self.task.cancel():
            self.asked += 1

    # --- judging --------------------------------------------------------------------------

    def judge(self, findings: Findings) -> None:
        task, who = self.task, f"{self.unit}, {self.way} at wait {self.at}"
        counts = findings.counts
        if self.asked:
            counts["cancelled"] += 1
            if not task.cancelled():
                findings.add("cancel swallowed", f"{who} ended with {_ended(task)}")
            elif task.cancelling() != self.asked:
                findings.add("cancelling() is not balanced", f"{who}: {task.cancelling()}")
            return
        if task.cancelling():
            findings.add("cancelling() is not balanced", f"{who}: {task.cancelling()}")
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.timed_out and isinstance(exc, TimeoutError):
            counts["timed out"] += 1
            return
        if exc is not None:
            findings.add("error without a cause", f"{who}: {exc!r} {_origin(exc)}")
            return
        counts["left alone" if not (self.left or self.timed_out) else "left or late"] += 1
        exchange = self.exchange
        if exchange is not None:
            if exchange.cancelling_afterwards:
                findings.add("cancelling() is not balanced", f"{who}, after the request")
            if not self.left and not (exchange.complete and exchange.status == 200):
                findings.add("wrong answer", f"{who}: {exchange.messages[:1]}")


def _ended(task: asyncio.Task[Any]) -> str:
    exc = task.exception()
    return "a result" if exc is None else f"{exc!r} {_origin(exc)}"


def _origin(exc: BaseException) -> str:
    tb = exc.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return "" if tb is None else f"({tb.tb_frame.f_code.co_qualname}:{tb.tb_lineno})"


class RandomCancels:
    """`await RandomCancels(seed, application, count=…).run(findings)`."""

    def __init__(
        self,
        seed: int,
        application: Any,
        *,
        count: int,
        at_once: int,
        only: str | None = None,
        stop_early: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.application = application
        self.count = count
        self.at_once = at_once
        self.only = only
        self.stop_early = stop_early

    async def run(self, findings: Findings) -> None:
        """Work through `count` units; then see what an outsider sees."""
        works.units.clear()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, told: findings.add("error in a callback of the loop", told)
        )
        made = 0
        while made < self.count and not (self.stop_early and findings.kinds):
            batch = self.chance.randint(1, self.at_once)
            victims = [self._make(made + n) for n in range(batch)]
            made += batch
            await self._until_ended(victims, findings)
            for victim in victims:
                victim.judge(findings)
        findings.counts["units"] += made

    async def _until_ended(self, victims: list[Victim], findings: Findings) -> None:
        tasks = {victim.task for victim in victims}
        _, hanging = await asyncio.wait(tasks, timeout=PATIENCE_S)
        for task in hanging:
            findings.add("hangs", f"{task.get_name()}\n{Stack.of(task)}")
            task.cancel()
        if hanging:
            await asyncio.wait(hanging, timeout=PATIENCE_S)
            raise AssertionError(str(findings))

    def _make(self, number: int) -> Victim:
        chance = self.chance
        names = [*works.WORKS, *works.VIEWS_ONLY] if self.only is None else [self.only]
        unit = works.units[number] = Unit(number, chance.choice(names))
        as_request = unit.work in works.VIEWS_ONLY or chance.random() < 0.5
        victim = Victim(unit, chance.choice(WAYS_OF_REQUESTS if as_request else WAYS), chance)
        victim.begin(self._request(victim) if as_request else self._bare(unit))
        return victim

    def _bare(self, unit: Unit) -> Callable[[], Coroutine[Any, Any, Any]]:
        work = works.WORKS[unit.work]
        kind = self.chance.choice(["bare", "scope", "task of a scope"])

        async def run() -> None:
            if kind == "bare":
                await work(unit)
                return
            async with onloop.scope():
                if kind == "scope":
                    await work(unit)
                else:
                    await asyncio.create_task(work(unit))

        return run

    def _request(self, victim: Victim) -> Callable[[], Coroutine[Any, Any, Any]]:
        unit = victim.unit
        path, options = f"/work/{unit.number}/", {}
        if unit.work in works.VIEWS_ONLY:
            path = f"/{unit.work}/{unit.number}/"
        if unit.work == "uploads":
            options = {"method": "POST", "body": [b"part " * 20, b"x" * 5000, b"end"]}
        exchange = victim.exchange = Exchange(self.application, path, **options)
        return exchange._serve

    async def check_rows(self, findings: Findings, rows: dict[int, set[str]]) -> None:
        """Compare what an outsider sees with what the units say of themselves."""
        for unit in works.units.values():
            findings.counts["whole" if unit.whole else "not whole"] += 1
            for wrong in unit.wrong:
                findings.add("wrong result", f"{unit}: {wrong}")
            there, expected = rows.get(unit.number, set()), unit.written
            if not unit.whole:
                expected = set()
            if there != expected:
                kind = "rows lost" if there < expected else "rows that were not committed"
                findings.add(kind, f"{unit}: {sorted(there)}, not {sorted(expected)}")
            hooks = ["hook"] if unit.whole and unit.work in works.HOOKED else []
            if unit.called != hooks:
                findings.add("callbacks of on_commit", f"{unit}: {unit.called}, not {hooks}")

    async def until_quiet(self) -> None:
        """Threads and children that a cancelled task left behind come to their end."""
        await eventually(
            lambda: not any(unit.running for unit in works.units.values()), "the end of all"
        )


def rows_seen_from_outside(databases: Any) -> dict[int, set[str]]:
    """The rows of each unit, over a connection that has nothing to do with the engine."""
    query = "SELECT name FROM library_author WHERE name LIKE '%:%'"
    if connection.vendor == "sqlite":
        with databases.file() as outsider:
            found = outsider.execute(query).fetchall()
    else:
        with databases.connect() as outsider:
            found = outsider.execute(query).fetchall()
    rows: dict[int, set[str]] = {}
    for (name,) in found:
        rows.setdefault(int(name.split(":")[0]), set()).add(name)
    return rows
