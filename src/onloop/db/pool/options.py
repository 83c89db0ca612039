"""The options of one pool, checked."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class PoolOptions:
    """Options of one pool, by psycopg_pool's names; times in seconds.

    `min_size` connections are opened at start-up by lifespan and kept open; beyond that the
    pool grows on demand to `max_size`. `max_waiting` callers may wait at once (0: any number),
    each at most `timeout`. A connection is replaced once it is older than `max_lifetime` (less
    up to 5 %, so that not all go at once), and closed when it has been idle for `max_idle`
    while there are more than `min_size`.

    While the server cannot be reached, attempts to refill the pool go on in the background for
    `reconnect_timeout`; then `reconnect_failed(pool)` is called, and only callers try again,
    until one gets through.

    `check(connection)` is called before a connection that has been idle for over a second is
    lent; one for which it raises is replaced. `reset(connection)` is called before a connection
    that came back is lent again. Both run in a bridge and may wait. `name` is what errors and
    logs call the pool.
    """

    min_size: int = 1
    max_size: int = 10
    timeout: float = 30.0
    max_waiting: int = 0
    max_lifetime: float = 3600.0
    max_idle: float = 600.0
    reconnect_timeout: float = 300.0
    reconnect_failed: Callable[[Any], object] | None = None
    check: Callable[[Any], object] | None = None
    reset: Callable[[Any], object] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check(field.name, str(field.type), getattr(self, field.name))
        if self.timeout > threading.TIMEOUT_MAX:
            raise ValueError(f"timeout must be a time that ends, not {self.timeout!r} s")
        if self.max_size < 1 or not 0 <= self.min_size <= self.max_size:
            raise ValueError(
                f"a pool needs 0 <= min_size <= max_size and max_size >= 1, not "
                f"min_size={self.min_size}, max_size={self.max_size}"
            )

    @staticmethod
    def _check(name: str, kind: str, value: Any) -> None:
        if kind.startswith("Callable"):
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be a function, not {value!r}")
        elif kind.startswith("str"):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be a text, not {value!r}")
        else:
            wanted = int if kind == "int" else int | float
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not value >= 0:  # NaN is not
                raise ValueError(f"{name} must not be negative, not {value!r}")

    def expiry(self, now: float) -> float:
        """Return the time until which a connection that is opened `now` may be lent."""
        return now + self.max_lifetime * random.uniform(0.95, 1.0)  # noqa: S311 - spreads load
