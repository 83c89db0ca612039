"""What a pool counts, by psycopg_pool's names.

Counters are raised without a lock: two threads may lose a count, never a connection.
"""

from __future__ import annotations

from onloop.db.pool.options import PoolOptions


def sizes(options: PoolOptions, size: int, idle: int, waiting: int) -> dict[str, int]:
    """Return what a pool is now, with psycopg_pool's names."""
    return {
        "pool_min": options.min_size,
        "pool_max": options.max_size,
        "pool_size": size,
        "pool_available": idle,
        "requests_waiting": waiting,
    }


class PoolStats:
    """Counters since the pool was made; times in seconds."""

    __slots__ = (
        "bad",
        "errors",
        "lost",
        "open_errors",
        "opened",
        "opening_s",
        "queued",
        "requests",
        "usage_s",
        "wait_s",
    )

    def __init__(self) -> None:
        self.requests = self.queued = self.errors = 0
        self.bad = self.lost = self.opened = self.open_errors = 0
        self.usage_s = self.wait_s = self.opening_s = 0.0

    def counters(self) -> dict[str, int]:
        """Return them with psycopg_pool's names and units.

        `requests_…`: how many asked for a connection, had to queue, for how long in all, and
        got an error. `usage_ms`: how long connections were out. `returns_bad`: came back in a
        state in which nobody else can use them. `connections_…`: attempts to open one, their
        time, how many failed, and idle ones that were found dead.
        """
        return {
            "requests_num": self.requests,
            "requests_queued": self.queued,
            "requests_wait_ms": round(self.wait_s * 1000),
            "requests_errors": self.errors,
            "usage_ms": round(self.usage_s * 1000),
            "returns_bad": self.bad,
            "connections_num": self.opened,
            "connections_ms": round(self.opening_s * 1000),
            "connections_errors": self.open_errors,
            "connections_lost": self.lost,
        }
