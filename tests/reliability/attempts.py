"""What a pool's back-off was asked and told: R7 judges the attempts to connect by that.

Noted in the very call, by the clock that the pool goes by: when an attempt is seen from outside
depends on who runs first. Nothing here is decided by how long something took.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from unittest import mock

from onloop.db.pool.backoff import FIRST_S, LONGEST_S, Backoff
from tests.reliability.findings import Findings


class Attempts:
    """The attempts of one pool, each begun after so many failures in a row."""

    def __init__(self) -> None:
        self.begun = 0
        # How long it was to wait after each failure in turn.
        self.delays: list[float] = []
        self._under_way: Counter[int] = Counter()
        # The most at once, of those that nobody had told of a failure and of all others.
        self._at_once = {"blind": 0, "warned": 0}
        self._early: list[int] = []

    def begins(self, failures: int, retry_at: float) -> None:
        self.begun += 1
        if failures and time.monotonic() < retry_at:
            self._early.append(failures)
        self._under_way[failures] += 1
        blind = self._under_way[0]
        for kind, count in (("blind", blind), ("warned", self._under_way.total() - blind)):
            self._at_once[kind] = max(self._at_once[kind], count)

    def ends(self, failures: int) -> None:
        self._under_way[failures] -= 1

    def judge(self, findings: Findings, alias: str, max_size: int) -> list[float]:
        """Return where each delay lies between its bounds."""
        if self._at_once["blind"] > max_size:
            findings.add("too many attempts", f"{self._at_once['blind']} at first, of {alias}")
        if self._at_once["warned"] > 1:
            findings.add("two attempts at once", f"{alias}: {self._at_once['warned']}")
        for failures in self._early:
            findings.add("too early", f"{alias}, attempt after {failures} failures")
        for number, delay in enumerate(self.delays, 1):
            if not limit_s(number) / 2 <= delay + 1e-6 <= LONGEST_S + 2e-6:
                findings.add(
                    "the next attempt is not in its bounds",
                    f"{alias}: {delay:.2f} s after {number} failures",
                )
        return [round(delay / limit_s(n), 6) for n, delay in enumerate(self.delays, 1)]


def limit_s(failures: int) -> float:
    """Return the longest interval after so many failures."""
    return min(FIRST_S * 2.0 ** (failures - 1), LONGEST_S)


@contextlib.contextmanager
def noted(backoffs: dict[str, Backoff]) -> Iterator[dict[str, Attempts]]:
    """Note what happens to these from now on, by the same names."""
    found = {alias: Attempts() for alias in backoffs}
    of = {backoff: found[alias] for alias, backoff in backoffs.items()}
    begin, failed, abandoned = Backoff.begin, Backoff.failed, Backoff.abandoned
    succeeded = Backoff.succeeded

    def begins(backoff: Backoff) -> int:
        if backoff in of:
            of[backoff].begins(backoff.failures, backoff.retry_at)
        return begin(backoff)

    def fails(backoff: Backoff, attempt: int, error: str, now: float) -> None:
        before = backoff.failures
        failed(backoff, attempt, error, now)
        if backoff in of:
            of[backoff].ends(attempt)
            if backoff.failures > before:
                of[backoff].delays.append(backoff.retry_at - now)

    def is_abandoned(backoff: Backoff, attempt: int) -> None:
        abandoned(backoff, attempt)
        if backoff in of:
            of[backoff].ends(attempt)

    def succeeds(backoff: Backoff) -> None:
        succeeded(backoff)
        if backoff in of:
            of[backoff].ends(0)  # before the server is away

    with (
        mock.patch.object(Backoff, "begin", begins),
        mock.patch.object(Backoff, "succeeded", succeeds),
        mock.patch.object(Backoff, "failed", fails),
        mock.patch.object(Backoff, "abandoned", is_abandoned),
    ):
        yield found
