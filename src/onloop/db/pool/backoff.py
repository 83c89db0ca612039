"""When the next attempt to open a connection may be made, after one that failed.

One attempt at a time, at intervals that double, with jitter, so that a server that comes back
is not met by everybody at once. The intervals are those of psycopg_pool's `AttemptWithBackoff`
in spirit, but shorter: here a request waits, and a pool is to serve again within 5 s of its
server's return. This module knows no clock and waits for nothing: the pool asks it under its
guard.
"""

from __future__ import annotations

import random

from onloop.db.errors import DatabaseUnavailable

FIRST_S = 0.1
LONGEST_S = 4.0


class Backoff:
    """The failures in a row. `error`: the message of the last one."""

    __slots__ = ("_probing", "error", "failures", "retry_at")

    def __init__(self) -> None:
        self.failures = 0
        self.error = ""
        self.retry_at = 0.0
        self._probing = False

    def may_try(self, now: float) -> bool:
        """Tell whether a connection may be opened: at any time unless the last one failed."""
        return not self.failures or (not self._probing and now >= self.retry_at)

    def begin(self) -> int:
        """Note that an attempt begins; what is returned is told at its end."""
        self._probing = self.failures > 0
        return self.failures

    def succeeded(self) -> None:
        self.failures = 0
        self._probing = False

    def failed(self, attempt: int, error: str, now: float) -> None:
        """Of several attempts that began together, only the first that fails counts."""
        self.error = error
        if attempt != self.failures:
            return
        self._probing = False
        delay = min(FIRST_S * 2**self.failures, LONGEST_S)
        self.failures += 1
        self.retry_at = now + delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load

    def abandoned(self, attempt: int) -> None:
        """The attempt was cancelled, or not made: nothing is known of the server."""
        if attempt == self.failures:
            self._probing = False

    def unavailable(self, now: float) -> DatabaseUnavailable:
        """Return the error for who must not try now."""
        return DatabaseUnavailable(
            f"{self.error} (attempt {self.failures} failed; the next is made in "
            f"{max(self.retry_at - now, 0.0):.1f} s at the earliest)"
        )
