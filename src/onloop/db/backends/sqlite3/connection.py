"""SQLite connections for many tasks on one loop, and their waits for a busy database.

SQLite has no socket: a short statement runs inline, in microseconds, and nothing else runs
meanwhile. What waits is a database that is busy. Django's `timeout` option is the deadline
for that; on the loop SQLite's own is 0, and the wait is ours.
"""

from __future__ import annotations

import functools
import math
import random
import sqlite3
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onloop import bridge
from onloop.db.backends.sqlite3.inline import Budget, SlowTexts
from onloop.db.backends.sqlite3.worker import Job
from onloop.db.turn import Turn
from onloop.waiting import FifoLock, pause

if TYPE_CHECKING:
    from onloop.db.backends.sqlite3.cursor import LoopSQLiteCursor

T = TypeVar("T")

# SQLite's instructions between two looks at the time. Often: 20 to 100 µs. A look needs the
# interpreter's lock, for which a busy thread may keep it waiting for 5 ms: nothing where the
# statement is stopped anyway after that, but a statement that runs to its end would take 100
# times as long. So there it is about 20 ms.
_OFTEN = 1_000
_SELDOM = 1_000_000
_set_progress_handler = sqlite3.Connection.set_progress_handler


class Database:
    """What this process knows about one database, whatever the number of connections."""

    def __init__(self, *, in_memory: bool) -> None:
        # Writers queue here before they ask SQLite, whose own lock knows no order. In memory
        # there is one connection, and its turn.
        self.writers = None if in_memory else FifoLock()
        self.slow_texts = SlowTexts()


_databases: dict[str, Database] = {}


def database_of(name: str, *, in_memory: bool = False) -> Database:
    """Return what is known about the database `name`, a file or a URI."""
    known = _databases.get(name)
    if known is None:
        made = Database(in_memory=in_memory)
        known = _databases.setdefault(name if in_memory else str(Path(name).resolve()), made)
        if Path(name).is_absolute():
            _databases[name] = known
    return known


class LoopSQLiteConnection(sqlite3.Connection):
    """A connection whose waits for a busy database are those of its caller.

    `turn`: the right to use the connection. `busy_s`: seconds that a busy database may keep a
    statement waiting here; None leaves that to SQLite's own timeout, as in plain threads.
    `inline_s`: seconds that a statement may hold the loop.
    """

    turn: Turn
    busy_s: float | None = None
    inline_s: float = 0.0
    database: Database
    # The wrapper has the place in the queue of writers, from BEGIN to the end.
    writing: bool = False
    closed = False
    # Statements have set something up when it was opened.
    configured = False
    # A worker thread is at work: nobody else may touch the connection or its cursors.
    job: Job[Any] | None = None
    # None until the loop uses the connection, and where the user has a progress handler.
    budget: Budget | None = None
    _foreign_handler = False
    _looks_often = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = Turn(None)
        # Cursors that have rows left in SQLite.
        self.streams: weakref.WeakSet[LoopSQLiteCursor] = weakref.WeakSet()

    # --- For many tasks ---------------------------------------------------------------------

    def close(self) -> None:
        """Close now, or when the worker that uses the connection is done with it."""
        job = self.job
        if job is not None and job.later(self._close):
            return
        self._close()

    def _close(self) -> None:
        super().close()
        self.closed = True

    def commit(self) -> None:
        with self.turn:
            self.check_free()
            retry_while_busy(self, super().commit)

    def rollback(self) -> None:
        with self.turn:
            self.roll_back_when_free()

    def roll_back_when_free(self) -> None:
        """Roll back without waiting for the turn, at the worker's end if there is one."""
        job = self.job
        if job is None or not job.later(super().rollback):
            super().rollback()

    def check_free(self) -> None:
        """Raise SQLITE_BUSY while a statement that could not be waited for is at work."""
        if self.job is not None:
            busy = sqlite3.OperationalError("database is locked: a worker runs a statement")
            busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
            busy.sqlite_errorname = "SQLITE_BUSY"
            raise busy

    @property
    def is_clean(self) -> bool:
        """Whether another scope can use this connection as it is."""
        return self.job is None and not self.in_transaction

    # --- How long a statement may take ------------------------------------------------------

    def set_progress_handler(self, *args: Any, **kwargs: Any) -> None:
        """The user's own handler takes the place of the budget."""
        self.check_free()
        super().set_progress_handler(*args, **kwargs)
        self._foreign_handler = True
        self.budget = None

    def watch_time(self) -> None:
        """Have SQLite look at the time in the middle of statements."""
        if self.budget is None and not self._foreign_handler:
            self.budget = Budget()
            self._looks_often = True
            self.look_often(False)

    def look_often(self, often: bool) -> None:
        """Say whether the statement to come can be stopped on the budget."""
        if self._looks_often is not often and self.budget is not None:
            self._looks_often = often
            _set_progress_handler(self, self.budget.check, _OFTEN if often else _SELDOM)

    def stop_statement(self) -> None:
        """End the worker's statement; from any thread, under the guard of the job."""
        if self.budget is not None:
            self.budget.deadline = -math.inf
        else:
            self.interrupt()

    def job_ended(self) -> None:
        """Called by the worker, last of all, under the guard of the job."""
        if self.budget is not None:
            self.budget.deadline = math.inf
        self.job = None

    def end_streams(self) -> bool:
        """Read what streams have left in SQLite, and with that end the snapshot they see."""
        streams = list(self.streams)
        for stream in streams:
            stream.read_rest()
        return bool(streams)


def _when_free(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: LoopSQLiteConnection, *args: Any, **kwargs: Any) -> Any:
        self.check_free()
        return method(self, *args, **kwargs)

    return call


# sqlite3 has the interpreter's lock in hand when these wait for SQLite's mutex. A task that
# calls one while a worker runs a statement of another task would stop both for good.
for _name in (
    "create_aggregate", "create_collation", "create_function", "create_window_function",
    "set_authorizer", "set_trace_callback",
):  # fmt: skip
    setattr(LoopSQLiteConnection, _name, _when_free(getattr(sqlite3.Connection, _name)))


def retry_while_busy(connection: LoopSQLiteConnection, call: Callable[[], T]) -> T:
    """Call `call` until the database is free, for at most `connection.busy_s` seconds.

    Raises SQLite's own `OperationalError` ("database is locked") at the deadline.
    """
    try:
        return call()
    except sqlite3.OperationalError as exc:
        if connection.busy_s is None or not can_wait(exc, connection):
            raise
    return call_when_free(connection, call)


def call_when_free(connection: LoopSQLiteConnection, call: Callable[[], T]) -> T:
    """Call what has been refused once.

    An autocommit statement queues with the writers of this process now; what is left to wait
    for then are other processes.
    """
    deadline = time.monotonic() + (connection.busy_s or 0.0)
    if connection.in_transaction:
        return _repeat(connection, call, deadline)
    with _WriterPlace(connection):
        return _repeat(connection, call, deadline)


def _repeat(connection: LoopSQLiteConnection, call: Callable[[], T], deadline: float) -> T:
    delay = 0.001
    while True:
        try:
            return call()
        except sqlite3.OperationalError as exc:
            left = deadline - time.monotonic()
            if left <= 0 or not can_wait(exc, connection):
                raise
        # Jitter, so that the processes that wait do not come back all at once.
        pause(min(left, delay * random.uniform(0.5, 1.5)))  # noqa: S311
        delay = min(delay * 2, 0.05)


class _WriterPlace:
    """The place in the queue of writers, for one autocommit statement."""

    def __init__(self, connection: LoopSQLiteConnection) -> None:
        self._writers = None if connection.writing else connection.database.writers
        self._busy_s = connection.busy_s or 0.0

    def __enter__(self) -> None:
        if self._writers is not None and not self._writers.acquire(self._busy_s):
            self._writers = None
            raise sqlite3.OperationalError("database is locked")

    def __exit__(self, *exc: object) -> None:
        if self._writers is not None:
            self._writers.release()


def can_wait(exc: sqlite3.OperationalError, connection: LoopSQLiteConnection) -> bool:
    """Tell whether a statement that was refused may succeed when it is tried again."""
    code = getattr(exc, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        # Somebody wrote since a SELECT of this connection began. In a transaction that is
        # final; else it is a stream, `for book in books.iterator(): book.save()`.
        return not connection.in_transaction and connection.end_streams()
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return True
    if connection.in_transaction:
        return bool(code == sqlite3.SQLITE_LOCKED_SHAREDCACHE)
    return bool(code & 0xFF == sqlite3.SQLITE_LOCKED)


def is_busy(exc: BaseException) -> bool:
    code = getattr(exc, "sqlite_errorcode", 0)
    return bool(code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


def in_worker(
    connection: LoopSQLiteConnection, call: Callable[[], T], *, stoppable: bool
) -> tuple[T, float]:
    """Run `call` in a worker; return its result and the seconds of processor time it took.

    In a thread, which may block, it is simply called.
    """
    if not bridge.active():
        return call(), math.inf
    job = Job(connection, call, stoppable=stoppable)
    return job.run(), job.cpu_s
