"""How long things took: a histogram of all of them, and percentiles of the last minute.

Adding is a search in a list and three additions, without a lock: two threads may lose a count,
as everywhere in these numbers. The minute is twelve slots of five seconds; a slot that falls
out is added to what was before, so nothing has to run for it.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

SLOT_S = 5
SLOTS = 12

# Upper ends of the buckets in seconds: ten a decade, from 0.1 ms to 100 s. So a percentile is
# right within a tenth or so.
BOUNDS_S = tuple(
    round(step * 10.0**power, 7)
    for power in range(-4, 2)
    for step in (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
)
PERCENTILES = (50, 95, 99)


class _Slot:
    __slots__ = ("counts", "longest_s", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.longest_s = 0.0


class Window:
    """Durations, added one by one from any thread."""

    __slots__ = ("_began", "_guard", "_past", "_slot", "_slots", "total_s")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._guard = threading.Lock()  # taken when a slot begins, and for reading
        self._past = [0] * (len(BOUNDS_S) + 1)
        self._slot = _Slot(-1)
        self._slots: list[_Slot] = []
        self.total_s = 0.0

    def add(self, took_s: float, now: float) -> None:
        """Count something that took `took_s` seconds and ended at the monotonic time `now`."""
        slot = self._slot
        if slot.number != now // SLOT_S:
            slot = self._turn(int(now // SLOT_S))
        slot.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.total_s += took_s
        if took_s > slot.longest_s:  # noqa: PLR1730 - `max` takes longer
            slot.longest_s = took_s

    def _turn(self, number: int) -> _Slot:
        with self._guard:
            slot = self._slot
            # Another thread may have been quicker, also by more than this one.
            if slot.number < number:
                slot = self._slot = _Slot(number)
                self._slots.append(slot)
                while len(self._slots) > SLOTS:
                    gone = self._slots.pop(0)
                    self._past = _sum([self._past, gone.counts])
            return slot

    def read(self, now: float | None = None) -> dict[str, Any]:
        """Return the numbers, times in seconds.

        `count` and `total_s` of all so far, and `buckets`: how many of them took up to each of
        `BOUNDS_S` and not up to the one before, and last those that took longer. Of the last
        minute `recent`: `count`, `per_s`, `p50_s`, `p95_s`, `p99_s` and `longest_s`; the last
        four are None where nothing was counted.
        """
        now = time.monotonic() if now is None else now
        with self._guard:
            slots = list(self._slots)
            buckets = _sum([self._past, *(slot.counts for slot in slots)])
        first = int(now // SLOT_S) - SLOTS + 1
        slots = [slot for slot in slots if slot.number >= first]
        recent = _sum([slot.counts for slot in slots]) if slots else []
        count = sum(recent)
        longest_s = max((slot.longest_s for slot in slots), default=0.0)
        covered_s = min(now - first * SLOT_S, max(now - self._began, 1.0))
        return {
            "count": sum(buckets),
            "total_s": self.total_s,
            "buckets": buckets,
            "recent": {
                "count": count,
                "per_s": count / covered_s,
                **{
                    f"p{percent}_s": _percentile(recent, count, percent, longest_s)
                    for percent in PERCENTILES
                },
                "longest_s": longest_s if count else None,
            },
        }


def _sum(columns: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*columns, strict=True)]


def _percentile(
    counts: Sequence[int], count: int, percent: int, longest_s: float
) -> float | None:
    """The value that `percent` of all are not above, by a straight line inside its bucket."""
    if not count:
        return None
    wanted = count * percent / 100
    below = 0
    for number, inside in enumerate(counts):
        if inside and below + inside >= wanted:
            low = BOUNDS_S[number - 1] if number else 0.0
            high = BOUNDS_S[number] if number < len(BOUNDS_S) else longest_s
            return min(low + (high - low) * (wanted - below) / inside, longest_s)
        below += inside
    return longest_s
