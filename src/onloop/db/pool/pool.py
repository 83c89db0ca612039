"""A pool of connections for one event loop and one alias.

Everything that can be cancelled happens in `get`; `put` is synchronous, so nothing needs
shielding. A waiter that is cancelled after a connection was handed to it puts it back. Callers
that need a new connection open it themselves, in their own bridge or thread.

A cursor that the garbage collector finds gives its connection back from a finaliser, which may
run in the middle of any line here. So neither `put` nor `discard` ever waits for a lock: they
leave what they bring in a `deque`, and whoever has the guard looks there once more after it has
let go (`Guard`). The common path, an idle connection and nobody in the queue, needs no lock.

This module knows no driver: what a connection is, is the business of `Driver`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from onloop.db.errors import DatabaseUnavailable, PoolTimeout, TooManyWaiters
from onloop.db.pool.backoff import Backoff
from onloop.db.pool.options import PoolOptions
from onloop.db.pool.parts import Driver, Entry, Guard, Slot, explain, passes
from onloop.db.pool.stats import PoolStats, sizes
from onloop.waiting import Waiter

C = TypeVar("C")

_monotonic = time.monotonic

# `check` is called for a connection that has been idle for longer (PgBouncer's idea, as its
# `server_check_delay`: what came back a moment ago has just worked), and has so long to answer.
CHECK_AFTER_S = 1.0
CHECK_S = 5.0
LOOK_AGAIN_S = 1.0  # who waits does so: whoever would have told of a free slot may be cancelled


class Pool(Generic[C]):
    """At most `options.max_size` connections, handed to callers in the order they came."""

    def __init__(self, name: str, options: PoolOptions, driver: Driver) -> None:
        self.name = options.name or name
        self.options = options
        self.driver = driver
        self.closed = False
        # Takes connections that need a wait before they can be used again; see `Upkeep`.
        self.reaper: Callable[[C], None] | None = None
        self._guard = Guard(self)
        self._entries: dict[int, Entry[C]] = {}  # by the id of the connection
        self._idle: deque[Entry[C]] = deque()  # the last to come back is the first to go
        self._waiting: deque[Waiter[Any]] = deque()
        self._freed: deque[None] = deque()  # slots of connections that are gone
        self._size = 0  # open, being opened, or promised to a waiter
        self._backoff = Backoff()
        self._drained: Waiter[None] | None = None
        self._stats = PoolStats()

    # --- Borrowing --------------------------------------------------------------------------

    def get(self, open_: Callable[[], C], *, urgent: bool = False) -> C:
        """Borrow a connection: an idle one, one that `open_` makes, or the next to come back.

        `urgent`: the caller holds what those that have the connections may be waiting for, so
        it gets one beyond `max_size` rather than wait for them.

        Raises `PoolTimeout` after `options.timeout` seconds, `TooManyWaiters` at once if
        `options.max_waiting` callers wait already, `DatabaseUnavailable` if the pool is closed
        or no connection can be opened and none could come back, and whatever else `open_` does.
        """
        self._stats.requests += 1
        now = _monotonic()
        deadline = now + self.options.timeout
        while True:
            entry = self._take_idle(now, deadline)
            if entry is None:
                step = self._join(urgent=urgent, now=now)
                if type(step) is not Slot:
                    step = self._wait(step, deadline)
                now = _monotonic()
                entry = step
                if type(step) is Slot:
                    try:
                        entry = self._open(step, open_)
                    except DatabaseUnavailable:
                        if urgent or self.closed or not self._size:
                            self._stats.errors += 1
                            raise
                        continue  # others have connections: wait for one of theirs
            entry.since = now
            return entry.connection

    def _take_idle(self, now: float, deadline: float) -> Entry[C] | None:
        while self._idle and not self.closed and (entry := self._pop()) is not None:
            connection = entry.connection
            if now < entry.expires_at:
                if self.driver.is_alive(connection):
                    check = self.options.check
                    if entry.suspect:
                        check = check or self.driver.check
                    elif check is None or now - entry.since < CHECK_AFTER_S:
                        return entry
                    # If it does not answer, there is time to open another one.
                    if passes(self, check, connection, min((deadline - now) / 2, CHECK_S)):
                        return entry
                    now = _monotonic()
                self._stats.lost += 1
            self.discard(connection)
            if now > deadline:
                raise self._timed_out("checking those that are idle took too long")
        return None

    def _join(self, *, urgent: bool, now: float) -> Any:
        """Return a slot to open a connection in, or a place in the queue."""
        with self._guard:
            self._see_to_freed()
            if self.closed:
                raise self._closed_error()
            if urgent:
                return self._slot()
            self._grant(now)  # who came first opens first
            if not self._waiting and self._may_grow(now):
                return self._slot()
            if not self._size:
                self._stats.errors += 1
                raise self._backoff.unavailable(now)
            limit = self.options.max_waiting
            if limit and len(self._waiting) >= limit:
                self._stats.errors += 1
                raise TooManyWaiters(explain(self, f"{limit} callers wait already"))
            waiter: Waiter[Any] = Waiter()
            self._waiting.append(waiter)
            self._stats.queued += 1
            return waiter

    def _wait(self, waiter: Waiter[Any], deadline: float) -> Any:
        """Wait for an entry or a slot; raise the error that is handed over instead."""
        began = now = _monotonic()
        try:
            while not waiter.done and now < deadline:
                until = min(deadline, now + LOOK_AGAIN_S)
                if self._backoff.failures:  # a slot may be free that nobody was let into
                    until = min(deadline, max(self._backoff.retry_at, now + 0.01))
                if waiter.wait(until - now) or until == deadline:
                    break
                now = _monotonic()
                if now < until - 0.005:
                    break  # the bound of a shield has come
                with self._guard:
                    self._grant(now)
        except BaseException:
            if not self._abandon(waiter):
                self._pass_on(waiter.value)
            raise
        finally:
            self._stats.wait_s += _monotonic() - began
        if not waiter.done and self._abandon(waiter):
            raise self._timed_out(f"none came free within {self.options.timeout:g} s")
        if isinstance(waiter.value, Exception):
            self._stats.errors += 1
            raise waiter.value
        return waiter.value

    # --- Giving back ------------------------------------------------------------------------

    def put(self, connection: C) -> None:
        """Take a connection back, from any thread; never waits. An unclean one is closed."""
        entry = self._entries.get(id(connection))
        if entry is None:
            self.driver.close(connection)  # it is not of this pool
            return
        if entry.idle:
            return  # it was given back twice
        now = _monotonic()
        self._stats.usage_s += now - entry.since
        surplus = self._size > self.options.max_size
        if self.closed or (now >= entry.expires_at if self._waiting else surplus):
            self.discard(connection)  # who waits would get an old one without a look at it
        elif self.driver.is_clean(connection):
            entry.since = now
            entry.suspect = False  # it has just worked
            self._offer(entry)
        else:
            self._stats.bad += 1
            self.discard(connection)

    def discard(self, connection: C) -> None:
        """Take back a connection that must not be used again; never waits."""
        self.driver.close(connection)
        if self._entries.pop(id(connection), None) is not None:
            self._freed.append(None)
            self._settle()

    def reap(self, connection: C) -> None:
        """Take back a connection on which something is left to close, which needs a wait."""
        if self.reaper is None or self.closed:
            self.discard(connection)
        else:
            self.reaper(connection)

    def _offer(self, entry: Entry[C]) -> None:
        entry.idle = True
        self._idle.append(entry)
        if self._waiting or self.closed or self._drained is not None:
            self._settle()

    def _settle(self) -> None:
        """Hand what is idle to those who wait, and free slots to them; waits for no lock."""
        guard = self._guard.lock
        while (
            (self._idle and (self._waiting or self.closed))
            or self._freed
            or (self._drained is not None and self._size == len(self._idle))
        ):
            if not guard.acquire(blocking=False):
                return  # who has it looks again
            try:
                if self._freed:
                    self._see_to_freed()
                if self._idle and self._waiting and (entry := self._pop()) is not None:
                    self._waiting.popleft().set(entry)
                if self._drained is not None and self._size == len(self._idle):
                    self._drained.set(None)
                    self._drained = None
            finally:
                guard.release()
            while self.closed and (entry := self._pop()) is not None:
                self.discard(entry.connection)

    def _pop(self) -> Entry[C] | None:
        try:
            entry = self._idle.pop()
        except IndexError:
            return None  # a thread was quicker
        entry.idle = False
        return entry

    # --- Opening ----------------------------------------------------------------------------

    def add(self, open_: Callable[[], C]) -> bool:
        """Open a connection for the pool's reserve, if it has less than `min_size`.

        Returns False if there is nothing to do, or it is too early to try again.
        """
        with self._guard:
            if not self.is_short or not self._backoff.may_try(_monotonic()):
                return False
            slot = self._slot()
        entry = self._open(slot, open_)
        entry.since = _monotonic()
        self.put(entry.connection)
        return True

    def _open(self, slot: Slot, open_: Callable[[], C]) -> Entry[C]:
        began = _monotonic()
        self._stats.opened += 1
        try:
            if self.closed:
                raise self._closed_error()
            connection = open_()
        except BaseException as exc:
            with self._guard:
                if isinstance(exc, DatabaseUnavailable):
                    self._stats.open_errors += 1
                    self._backoff.failed(slot.attempt, str(exc), _monotonic())
                else:
                    self._backoff.abandoned(slot.attempt)
                self._freed.append(None)
            raise
        now = _monotonic()
        self._stats.opening_s += now - began
        entry = Entry(connection, self.options.expiry(now))
        with self._guard:
            self._entries[id(connection)] = entry
            self._backoff.succeeded()
            self._grant(now)  # those whom a failure has kept from trying
        return entry

    def _slot(self) -> Slot:
        self._size += 1
        return Slot(self._backoff.begin())

    def _see_to_freed(self) -> None:
        """Count connections that are gone, and let waiters open others; under the guard."""
        while self._freed:
            self._freed.popleft()
            self._size -= 1
            if self._waiting:
                self._grant(_monotonic())

    def _may_grow(self, now: float) -> bool:
        return self._size < self.options.max_size and self._backoff.may_try(now)

    def _grant(self, now: float) -> None:
        """Let those who wait open what there is room for; under the guard."""
        while self._waiting and self._may_grow(now):
            self._waiting.popleft().set(self._slot())
        if not self._size:
            while self._waiting:  # nothing is left that could come back to them
                self._waiting.popleft().set(self._backoff.unavailable(now))

    def _abandon(self, waiter: Waiter[Any]) -> bool:
        """Leave the queue; False if something was handed over meanwhile."""
        with self._guard:
            if waiter.done:
                return False
            self._waiting.remove(waiter)
            return True

    def _pass_on(self, value: Any) -> None:
        """Give on what was handed to a waiter that no longer wants it."""
        if type(value) is Slot:
            with self._guard:
                self._backoff.abandoned(value.attempt)
                self._freed.append(None)
        elif type(value) is Entry:
            value.since = _monotonic()
            self.put(value.connection)

    # --- Upkeep -----------------------------------------------------------------------------

    def prune(self) -> None:
        """Close idle connections that are dead, too old, or idle for too long; never waits."""
        now = _monotonic()
        for _ in range(len(self._idle)):
            try:
                entry = self._idle.popleft()
            except IndexError:
                return
            entry.idle = False
            unused = now - entry.since > self.options.max_idle
            if not self.driver.is_alive(entry.connection):
                self._stats.lost += 1
            elif now < entry.expires_at and not (unused and self._size > self.options.min_size):
                self._offer(entry)  # at the other end: after all of them the order is as it was
                continue
            self.discard(entry.connection)

    def suspect(self) -> None:
        """Have every connection checked before it is lent again: one was not answered."""
        for entry in list(self._entries.values()):
            entry.suspect = True

    def outdate(self) -> None:
        """Replace every connection that is open now, borrowed ones when they are back."""
        for entry in list(self._entries.values()):
            entry.expires_at = 0.0

    @property
    def is_short(self) -> bool:
        """Whether there are less than `min_size` connections."""
        return not self.closed and self._size < self.options.min_size

    @property
    def retry_at(self) -> float:
        """The monotonic time before which opening another connection is not tried."""
        return self._backoff.retry_at if self._backoff.failures else 0.0

    def drain(self, timeout_s: float) -> int:
        """Wait until every connection is back; return how many are not after `timeout_s`."""
        self._drained = drained = Waiter[None]()
        self._settle()
        try:
            drained.wait(timeout_s)
        finally:
            with self._guard:
                self._drained = None
        return self._size - len(self._idle)

    def close(self) -> None:
        """Close idle connections now and borrowed ones when they come back; any thread."""
        with self._guard:
            self.closed = True
            while self._waiting:
                self._waiting.popleft().set(self._closed_error())

    # --- Telling ----------------------------------------------------------------------------

    @property
    def idle(self) -> list[C]:
        """The connections that nobody has borrowed."""
        return [entry.connection for entry in list(self._idle)]

    def stats(self) -> dict[str, int]:
        """Return sizes now and counters since the beginning, named as psycopg_pool's."""
        now = self._size - len(self._freed), len(self._idle), len(self._waiting)
        return sizes(self.options, *now) | self._stats.counters()

    @property
    def last_error(self) -> str:
        """Why the last attempt to open a connection failed, if it did."""
        return self._backoff.error if self._backoff.failures else ""

    def _timed_out(self, what: str) -> PoolTimeout:
        self._stats.errors += 1
        return PoolTimeout(explain(self, what))

    def _closed_error(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"The pool {self.name!r} is closed.")
