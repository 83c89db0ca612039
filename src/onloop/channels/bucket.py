"""How fast messages may come."""

from __future__ import annotations


class Bucket:
    """Messages that may come: `rate` more each second, up to `burst`. A rate of 0 is none."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take a message out; False if there is none left."""
        left = self._left + (now - self._at) * self._rate
        left = min(left, self._burst)
        self._at = now
        if left < 1 and self._rate:
            self._left = left
            return False
        self._left = left - 1
        return True
