"""What a pool is made of: its guard, its connections, and what it must know of a driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from onloop.bridge import interrupts

if TYPE_CHECKING:
    from onloop.db.pool.pool import Pool

C = TypeVar("C")


class Driver(Protocol):
    """What a pool must know about its connections."""

    def is_clean(self, connection: Any) -> bool:
        """Tell whether a connection that comes back can be used by anybody; never waits."""

    def is_alive(self, connection: Any) -> bool:
        """Tell whether an idle connection still looks usable, without a round trip."""

    def close(self, connection: Any) -> None:
        """Close at once; never waits."""

    def prepare(self, connection: Any, timeout_s: float) -> None:
        """Make an idle connection usable for the pool's own calls; never waits.

        `timeout_s`: how long the server has to answer each of them.
        """

    def check(self, connection: Any) -> None:
        """Ask whether an idle connection works; may wait.

        Raises if it does not; a `TimeoutError` if nothing answers.
        """

    def tidy(self, connection: Any) -> None:
        """Close what cursors have left open at the server; may wait. Raises if it cannot."""


class Entry(Generic[C]):
    """One open connection. `since`: when it was last borrowed or given back.

    `suspect`: another one was not answered, and this one has not been used since.
    """

    __slots__ = ("connection", "expires_at", "idle", "since", "suspect")

    def __init__(self, connection: C, expires_at: float) -> None:
        self.connection = connection
        self.expires_at = expires_at
        self.idle = False
        self.since = 0.0
        self.suspect = False


class Slot:
    """What a waiter is handed that may open a connection of its own."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt


class Guard:
    """The pool's lock, held for a few instructions and never over a wait.

    On leaving it sees to what finalisers and other threads have brought meanwhile: they found
    it taken and went away.
    """

    __slots__ = ("_pool", "lock")

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = pool
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self.lock.release()
        self._pool._settle()


def passes(
    pool: Pool[C], check: Callable[[C], object], connection: C, timeout_s: float
) -> bool:
    """Ask `check` about an idle connection, which has `timeout_s` seconds to answer."""
    try:
        pool.driver.prepare(connection, timeout_s)
        check(connection)
        return True
    except BaseException as exc:
        if interrupts(exc):
            pool.discard(connection)  # cancelled in the middle of a round trip
            raise
        if isinstance(exc, TimeoutError):
            pool.outdate()  # to ask each of the others would take as long
        return False  # whatever is wrong with it, another one is tried


def explain(pool: Pool[Any], what: str) -> str:
    """Say why a caller got no connection, and what can be done about it."""
    stats = pool.stats()
    failure = (
        f" The last attempt to open one failed: {pool.last_error}." if pool.last_error else ""
    )
    return (
        f"The pool {pool.name!r} has no free connection: {what} (size {stats['pool_size']} of "
        f"{stats['pool_max']}, {stats['pool_available']} idle, {stats['requests_waiting']} "
        "waiting). Keep transactions short, await other services outside of them, or raise "
        f"OPTIONS['pool']['max_size'] within what the server allows.{failure}"
    )


def is_busy(pool: Pool[Any], within_s: float) -> bool:
    """Tell whether all connections are lent, and one changed hands in the last `within_s`."""
    if pool._idle or pool._size < pool.options.max_size:
        return False
    since = time.monotonic() - within_s
    return any(entry.since > since for entry in list(pool._entries.values()))
