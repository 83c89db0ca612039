"""A pool of connections for one event loop and one alias.

Everything that can be cancelled happens in `get`; `put` is synchronous, so nothing needs
shielding. A waiter that is cancelled after a connection was handed to it puts it back. Option
names and defaults follow psycopg_pool. Callers that need a new connection open it themselves,
in their own bridge or thread; the pool only counts.

This module knows no driver: what a connection is, is the business of `Driver`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

from onloop.db.errors import DatabaseUnavailable, PoolTimeout, TooManyWaiters
from onloop.waiting import Waiter

C = TypeVar("C")


class Driver(Protocol):
    """What a pool must know about its connections; none of it may wait."""

    def is_clean(self, connection: Any) -> bool:
        """Tell whether a connection that comes back can be used by anybody."""

    def is_alive(self, connection: Any) -> bool:
        """Tell whether an idle connection still looks usable, without a round trip."""

    def close(self, connection: Any) -> None: ...


@dataclass(frozen=True)
class PoolOptions:
    """Options of one pool; times in seconds.

    `min_size` connections are opened at start-up by lifespan; beyond that the pool grows on
    demand to `max_size`. `max_waiting` callers may wait at once (0: any number), each at most
    `timeout`. A connection is replaced once it is older than `max_lifetime`, or has been
    idle for `max_idle` while there are more than `min_size`.
    """

    min_size: int = 1
    max_size: int = 10
    timeout: float = 30.0
    max_waiting: int = 0
    max_lifetime: float = 3600.0
    max_idle: float = 600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise TypeError(f"{field.name} must be a number, not {value!r}")
            if value < 0:
                raise ValueError(f"{field.name} must not be negative, not {value!r}")
        if self.max_size < 1 or not 0 <= self.min_size <= self.max_size:
            raise ValueError(
                f"a pool needs 0 <= min_size <= max_size and max_size >= 1, not "
                f"min_size={self.min_size}, max_size={self.max_size}"
            )


@dataclass
class _Idle(Generic[C]):
    connection: C
    since: float


_OPEN = object()  # handed to a waiter that may open a connection of its own


class Pool(Generic[C]):
    """At most `options.max_size` connections, handed to callers in the order they came."""

    def __init__(self, name: str, options: PoolOptions, driver: Driver) -> None:
        self.name = name
        self.options = options
        self.closed = False
        self._driver = driver
        self._guard = threading.Lock()
        self._idle: list[_Idle[C]] = []
        self._waiting: deque[Waiter[Any]] = deque()
        self._size = 0
        self._opened_at: dict[int, float] = {}

    def get(self, open_: Callable[[], C], *, urgent: bool = False) -> C:
        """Borrow a connection: an idle one, one that `open_` makes, or the next to come back.

        `urgent`: the caller holds what those that have the connections may be waiting for, so
        it gets one beyond `max_size` rather than wait for them.

        Raises `PoolTimeout` after `options.timeout` seconds, `TooManyWaiters` at once if
        `options.max_waiting` callers wait already, `DatabaseUnavailable` if the pool is
        closed, and whatever `open_` raises.
        """
        retired: list[C] = []
        waiter: Waiter[Any] | None = None
        try:
            with self._guard:
                if self.closed:
                    raise DatabaseUnavailable(f"The pool {self.name!r} is closed.")
                now = time.monotonic()
                while self._idle:
                    connection = self._idle.pop().connection
                    if self._usable(connection, now):
                        return connection
                    self._forget(connection)
                    retired.append(connection)
                if self._size < self.options.max_size or urgent:
                    self._size += 1
                else:
                    limit = self.options.max_waiting
                    if limit and len(self._waiting) >= limit:
                        raise TooManyWaiters(self._explain(f"{limit} callers wait already"))
                    waiter = Waiter()
                    self._waiting.append(waiter)
        finally:
            for connection in retired:
                self._driver.close(connection)
        if waiter is None:
            return self._open(open_)
        try:
            waiter.wait(self.options.timeout)
        except BaseException:
            if not self._abandon(waiter):
                self._pass_on(waiter.value)
            raise
        if self._abandon(waiter):
            raise PoolTimeout(
                self._explain(f"none came free within {self.options.timeout:g} s")
            )
        if waiter.value is _OPEN:
            return self._open(open_)
        return waiter.value  # type: ignore[no-any-return]

    def put(self, connection: C) -> None:
        """Take a connection back, from any thread; never waits. An unclean one is closed."""
        clean = self._driver.is_clean(connection)
        with self._guard:
            if id(connection) not in self._opened_at:
                clean = False  # `close` has forgotten it
            elif clean and not self.closed:
                self._drop_long_idle()
                if self._waiting:
                    self._waiting.popleft().set(connection)
                    return
                elif self._size <= self.options.max_size:
                    self._idle.append(_Idle(connection, time.monotonic()))
                    return
                else:
                    self._forget(connection)
            else:
                self._forget(connection)
        self._driver.close(connection)

    def discard(self, connection: C) -> None:
        """Take back a connection that must not be used again."""
        with self._guard:
            if id(connection) in self._opened_at:
                self._forget(connection)
        self._driver.close(connection)

    def close(self) -> None:
        """Close idle connections now and borrowed ones when they come back; any thread."""
        with self._guard:
            self.closed = True
            idle, self._idle = self._idle, []
            for entry in idle:
                self._forget(entry.connection)
            while self._waiting:
                self._waiting.popleft().set(_OPEN)
                self._size += 1
        for entry in idle:
            self._driver.close(entry.connection)

    def stats(self) -> dict[str, int]:
        """Return sizes now, named as psycopg_pool names them."""
        with self._guard:
            return {
                "pool_min": self.options.min_size,
                "pool_max": self.options.max_size,
                "pool_size": self._size,
                "pool_available": len(self._idle),
                "requests_waiting": len(self._waiting),
            }

    def _open(self, open_: Callable[[], C]) -> C:
        try:
            if self.closed:
                raise DatabaseUnavailable(f"The pool {self.name!r} is closed.")
            connection = open_()
        except BaseException:
            with self._guard:
                self._free_slot()
            raise
        with self._guard:
            self._opened_at[id(connection)] = time.monotonic()
        return connection

    def _usable(self, connection: C, now: float) -> bool:
        if now - self._opened_at[id(connection)] > self.options.max_lifetime:
            return False
        return self._driver.is_alive(connection)

    def _drop_long_idle(self) -> None:
        if self._idle and self._size > self.options.min_size:
            oldest = self._idle[0]  # `get` takes from the other end
            if time.monotonic() - oldest.since > self.options.max_idle:
                del self._idle[0]
                self._forget(oldest.connection)
                self._driver.close(oldest.connection)

    def _forget(self, connection: C) -> None:
        del self._opened_at[id(connection)]
        self._free_slot()

    def _free_slot(self) -> None:
        """A connection less: let the next waiter open one."""
        if self._waiting and self._size <= self.options.max_size:
            self._waiting.popleft().set(_OPEN)
        else:
            self._size -= 1

    def _abandon(self, waiter: Waiter[Any]) -> bool:
        """Leave the queue; False if something was handed over meanwhile."""
        with self._guard:
            if waiter.done:
                return False
            self._waiting.remove(waiter)
            return True

    def _pass_on(self, value: Any) -> None:
        """Give on what was handed to a waiter that no longer wants it."""
        if value is _OPEN:
            with self._guard:
                self._free_slot()
        else:
            self.put(value)

    def _explain(self, what: str) -> str:
        return (
            f"The pool {self.name!r} has no free connection: {what} (size {self._size} of "
            f"{self.options.max_size}, {len(self._idle)} idle, {len(self._waiting)} waiting). "
            "Keep transactions short, await other services outside of them, or raise "
            "OPTIONS['pool']['max_size'] within what the server allows."
        )
