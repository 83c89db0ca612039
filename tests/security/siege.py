"""Attacks on one application, each judged by the marks of R18: status, bytes, memory, work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from typing import Any

from tests.reliability.findings import Findings
from tests.reliability.scale import FULL
from tests.security.attacker import Attack, memory

KIB, MIB = 2**10, 2**20
# Of the work for four times as much; linear would be 4.
MOST_WORK = 4.6
# Of the time, where the square would be 16: it tells more and is less precise (the garbage
# collector grows with what there is), and only the full form is judged by it.
MOST_TIME = 10.0
TRIES = 3 if FULL else 1


class Siege:
    """`findings` has what was wrong, and what was seen."""

    def __init__(self, what: str, application: Any) -> None:
        self.findings = Findings(f"R18, {what}")
        self.application = application

    async def run(
        self,
        name: str,
        attack: Attack,
        *,
        statuses: Collection[int],
        keeps: int = 0,
        takes: int | None = None,
    ) -> Attack:
        """Play `attack` and judge it.

        A finding is an answer that is none of `statuses`, more than `takes` bytes taken of the
        body (None: any number), and more than `keeps` and 1 MiB used of memory.
        """
        with memory() as used:
            await attack.run()
        self.findings.counts[f"status {attack.status}"] += 1
        self.findings.measured[f"{name}: MiB taken"] = attack.taken / MIB
        self.findings.measured[f"{name}: MiB in memory"] = used.most / MIB
        if attack.status not in statuses:
            self.findings.add("wrong answer", f"{name}: {attack.status} {attack.text[:200]}")
        if takes is not None and attack.taken > takes:
            self.findings.add("taken beyond the limit", f"{name}: {attack.taken:,} bytes")
        if used.most > keeps + MIB:
            self.findings.add("memory", f"{name}: {used.most:,} bytes")
        return attack

    async def grows(self, name: str, make: Callable[[int], Attack], count: int) -> None:
        """Judge that `make(4 * count)` takes four times the work of `make(count)`, not more.

        Work is counted in calls of functions. Time is measured too, the shortest of `TRIES`.
        """
        await make(1).run()  # what is made only once
        calls = [await _calls(make(many)) for many in (count, 4 * count)]
        taken = [
            min([await _cpu_s(make(many)) for _ in range(TRIES)]) for many in (count, 4 * count)
        ]
        work, duration = calls[1] / calls[0], taken[1] / taken[0]
        self.findings.counts["growths"] += 1
        self.findings.measured[f"{name}: calls for four times as much"] = work
        self.findings.measured[f"{name}: time for four times as much"] = duration
        if work > MOST_WORK:
            self.findings.add("work is not linear", f"{name}: {calls}")
        if FULL and duration > MOST_TIME:
            self.findings.add("time is not linear", f"{name}: {taken} s")

    def judge(self) -> Findings:
        self.findings.judge()
        return self.findings


async def _calls(attack: Attack) -> int:
    calls = 0

    def count_calls(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count_calls)
    try:
        await attack.run()
    finally:
        sys.setprofile(None)
    return calls


async def _cpu_s(attack: Attack) -> float:
    begun = time.process_time()
    await attack.run()
    return time.process_time() - begun
