"""How many sockets a process has, whose they are, and why it has refused or closed some.

Counts of this process alone: several workers allow as many times more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

from onloop import metrics

logger = logging.getLogger("onloop.channels")

# Seconds between two lines in the log that tell of the same. Whoever floods a server with
# sockets should not flood its log too.
TOLD_EVERY_S = 10.0

# By name: what `socket_stats` counts, and what the log says of it.
TOLD = {
    "too_many": "was refused: its user or address has as many as ONLOOP['SOCKET_MAX_PER_USER'] "
    "or ['SOCKET_MAX_PER_ADDRESS'] allow",
    "too_big": "was closed: a message had more bytes than ONLOOP['SOCKET_MAX_MESSAGE']",
    "too_fast": "was closed: it sent more messages than ONLOOP['SOCKET_RATE'] allows",
    "slow": "was closed: its client did not read for ONLOOP['SOCKET_SEND_TIMEOUT']",
    "stuck": "was closed: its consumer took no message for ONLOOP['SOCKET_CONSUMER_TIMEOUT']",
    "idle": "was closed: nothing was sent either way for ONLOOP['SOCKET_IDLE_TIMEOUT']",
    "malformed": "was closed: a message was not what its consumer can read",
    "going_away": "was closed: the server ends",
    "cancelled": "had a consumer that did not end within ONLOOP['SOCKET_CLOSE_TIMEOUT']",
}


class Counts:
    """Sockets that are open, and how many there were of each kind of `TOLD`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a process may have several loops; never held over one
        self._of: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}
        self._owners: Counter[tuple[str, str]] = Counter()

    def enter(self, owner: tuple[str, str], most: int) -> bool:
        """Count a socket of `owner`; False if it has `most` already, 0 for any number."""
        with self._lock:
            if most and self._owners[owner] >= most:
                return False
            self._owners[owner] += 1
            return True

    def leave(self, owner: tuple[str, str]) -> None:
        with self._lock:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    def note(self, kind: str, shown: str) -> None:
        """Count one of `kind`, and log it if nothing was told of its kind just before."""
        now = time.monotonic()
        with self._lock:
            self._of[kind] += 1
            self._untold[kind] += 1
            if now - self._told_at.get(kind, -TOLD_EVERY_S) < TOLD_EVERY_S:
                return
            count = self._untold.pop(kind)
            self._told_at[kind] = now
        others = f" So were {count - 1} before it." if count > 1 else ""
        logger.warning("A socket (%s) %s.%s", shown, TOLD[kind], others)

    def stats(self) -> dict[str, int]:
        with self._lock:
            seen = {kind: self._of[kind] for kind in TOLD}
            return {"open": self._owners.total(), **seen}


counts = Counts()


def socket_stats() -> dict[str, int]:
    """Return how many sockets of this process are open, and how many were closed, by reason."""
    return counts.stats()


metrics.source("sockets", socket_stats)
