"""What the watchdog has seen: how often loops were held, by what, and how late they are."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from onloop import metrics
from onloop.culprits import Culprit, Stretch

# So many are kept to be looked at.
RECENT = 20


@dataclass(frozen=True)
class Stalls:
    """How often loops of this process were held, the longest time, and by what at last."""

    count: int = 0
    longest_ms: float = 0.0
    last: Culprit | None = None


@dataclass(frozen=True)
class Stall:
    """One of them: when it was noticed (seconds since 1970), how long it was, and by what."""

    at: float
    ms: float
    culprit: Culprit


class Record:
    """Written by the watchdog's thread alone; read from any."""

    def __init__(self) -> None:
        self.stalls = Stalls()
        self.lag = metrics.Window()
        self._recent: deque[tuple[Stretch, Stall]] = deque(maxlen=RECENT)

    def add(self, stretch: Stretch) -> tuple[Culprit, float]:
        """Count a stretch, once though it may come twice: while it lasts, and at its end.

        Return its culprit, and how long it has held the loop, in milliseconds.
        """
        culprit, ms = stretch.culprit(), stretch.held_s * 1000
        known = stretch.logged
        before = self.stalls
        self.stalls = Stalls(before.count + (not known), max(before.longest_ms, ms), culprit)
        if not known:
            self._recent.append((stretch, Stall(time.time(), ms, culprit)))
        for place, (noted, stall) in enumerate(self._recent):
            if known and noted is stretch:
                self._recent[place] = stretch, Stall(stall.at, ms, culprit)
        return culprit, ms

    def recent(self) -> list[Stall]:
        """The newest first."""
        return [stall for _, stall in reversed(self._recent.copy())]

    def read(self) -> dict[str, Any]:
        """`count`, `longest_ms`, the `recent` ones, and `lag`: how late loops came to marks."""
        return {
            "count": self.stalls.count,
            "longest_ms": self.stalls.longest_ms,
            "recent": [
                {"at": stall.at, "ms": stall.ms, **stall.culprit._asdict()}
                for stall in self.recent()
            ],
            "lag": self.lag.read(),
        }
