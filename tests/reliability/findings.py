"""What the harnesses have in common: their findings, a pool of a given size, and the rule.

A harness collects what it sees in `Findings` and hands them to its caller, so that a test which
plants a fault can ask whether it was found. `judge` prints the counts and raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import connections

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.testing import Leaked, LeakLedger, Sweep
from tests.database import close_pools
from tests.project.library.models import Author
from tests.reliability.scale import RULE_S

SHOWN = 10


class Found(AssertionError):
    """A harness found something wrong; `kinds` counts what."""

    def __init__(self, findings: Findings) -> None:
        self.kinds = findings.kinds
        super().__init__(str(findings))


class Findings:
    """Faults by kind, with the first few of them told, and counts of what was done.

    `what` begins with the row: "R10, seed 3". `measured` is for figures with their unit in the
    name ("longest wait s"): they are printed and recorded, and decide nothing by themselves.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.kinds: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.measured: dict[str, float] = {}
        self._told: list[str] = []
        self._begun = time.monotonic()

    def add(self, kind: str, told: object = "") -> None:
        self.kinds[kind] += 1
        if self.kinds[kind] <= SHOWN:
            self._told.append(f"{kind}: {told}")

    def __str__(self) -> str:
        counts = [f"{count} {name}" for name, count in sorted(self.counts.items())]
        counts += [f"{name} {value:.4g}" for name, value in self.measured.items()]
        lines = [f"{self.what}: {', '.join(counts)} ({self._took_s():.1f} s)"]
        lines.extend(f"{count} x {kind}" for kind, count in self.kinds.items())
        lines.extend(f"- {told}" for told in self._told)
        return "\n".join(lines)

    def judge(self) -> None:
        """Print and record what was done; raise `Found` if anything was wrong."""
        print(self)
        self._record()
        if self.kinds:
            raise Found(self)

    def _took_s(self) -> float:
        return time.monotonic() - self._begun

    def _record(self) -> None:
        """Append a line of JSON to the file that a soak asks for."""
        if path := os.environ.get("ONLOOP_RELIABILITY_RECORD"):
            seen = {
                "what": self.what,
                "test": os.environ.get("PYTEST_CURRENT_TEST", ""),
                "counts": self.counts,
                "measured": self.measured,
                "kinds": self.kinds,
                "took_s": self._took_s(),
            }
            with Path(path).open("a") as record:
                record.write(json.dumps(seen) + "\n")


async def judged(sweep: Awaitable[Sweep], findings: Findings) -> Sweep:
    """Await a sweep of cancellations, count what it did, and judge.

    What it raises is the finding, by the name of its class.
    """
    findings.counts["scenarios"] += 1
    try:
        done = await sweep
    except Exception as exc:
        findings.add(type(exc).__name__, "\n".join([str(exc), *getattr(exc, "__notes__", [])]))
        try:
            findings.judge()
        except Found as found:
            raise found from exc
        raise
    findings.counts["waits"] += done.waits
    findings.counts["runs"] += done.runs
    findings.counts["cancels"] += sum(outcome.cancelled for outcome in done.outcomes)
    findings.judge()
    return done


@contextlib.contextmanager
def pool_of(max_size: int, *, alias: str = "default", **options: Any) -> Iterator[None]:
    """Let the pools of `alias` have this size; those that are open are closed."""
    settings = connections.settings[alias]
    before = settings["OPTIONS"]
    settings["OPTIONS"] = {**before, "pool": {"max_size": max_size, **options}}
    if connections[alias].vendor == "sqlite":
        # How long writers queue depends on the machine, and decides nothing here.
        settings["OPTIONS"]["timeout"] = options.get("timeout", 30)
    close_pools()
    try:
        yield
    finally:
        close_pools()
        settings["OPTIONS"] = before


async def found_by(
    run: Callable[[int], Awaitable[object]], *wanted: str, tries: int = 3
) -> Counter[str]:
    """Run a harness with a fault in it, `run(0)`, `run(1)`, …, until one of `wanted` is found.

    Returns what that run found. A machine that stops for a second may hide a fault behind
    another finding, and which tasks meet is chance.
    """
    seen: Counter[str] = Counter()
    for number in range(tries):
        try:
            await run(number)
        except Found as caught:
            print(caught)
            if any(caught.kinds.get(kind) for kind in wanted):
                return caught.kinds
            seen += caught.kinds
    raise AssertionError(f"none of {tries} runs has found {wanted}, but {dict(seen)}")


class TheRule:
    """The rule at the end of every run, as `async with TheRule(findings, folder):`.

    `RULE_S` after it goes quiet: no connection out of the pool, no session idle in a
    transaction as the server sees it, tasks, descriptors and temporary files back, and the next
    work works, with as many connections at once as the pool has. `timeout_s` is shorter where a
    fault is planted, which would use it up.
    """

    def __init__(self, findings: Findings, folder: Path, *, timeout_s: float = RULE_S) -> None:
        self._findings = findings
        self._next_s = 3 * timeout_s
        self._ledger = LeakLedger(
            timeout_s=timeout_s, temp_folder=folder, databases=["default"]
        )

    async def __aenter__(self) -> None:
        await Author.objects.acount()  # the pool is there
        self._ledger.start()

    async def __aexit__(self, exc_type: object, exc: BaseException | None, tb: object) -> None:
        if exc is not None:
            return
        try:
            await self._ledger.averify()
        except Leaked as leaked:
            for leak in leaked.leaks:
                self._findings.add(f"left behind: {leak.kind}", leak)
        for pool in pools.pools_of(asyncio.get_running_loop()):
            stats = pool.stats()
            if stats["pool_size"] != stats["pool_available"] or stats["requests_waiting"]:
                self._findings.add("slot lost", stats)
            if stats["pool_size"] > stats["pool_max"]:
                self._findings.add("more connections than the pool may have", stats)
        try:
            async with asyncio.timeout(self._next_s):
                await _use_all_connections()
        except TimeoutError:
            self._findings.add("slot lost", "not all connections can be had at once any more")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self._findings.add("next work failed", repr(error))


async def _use_all_connections() -> None:
    """Have as many connections at once as the pool may have, and use each."""
    stats = await bridge.run(connections["default"].pool_stats)
    meeting = asyncio.Barrier(stats["pool_max"])

    async def use() -> None:
        async with onloop.scope():
            await bridge.run(connections["default"].ensure_connection)
            await Author.objects.acount()
            await meeting.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(stats["pool_max"]):
            group.create_task(use())
