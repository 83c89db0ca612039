"""SQLite connections and cursors for many tasks on one loop.

SQLite has no socket: a short statement runs inline, in microseconds, and nothing else runs
meanwhile. What waits is a database that is busy. Django's `timeout` option is the deadline
for that; on the loop SQLite's own is 0, and the wait is ours.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from onloop.db.backends.cursors import WatchedCursor
from onloop.db.turn import Turn
from onloop.waiting import FifoLock, pause

T = TypeVar("T")

# For connection classes of the user's own.
_no_turn = nullcontext()

# Statements that only read; what begins otherwise may write.
_READING = ("SELECT", "VALUES", "PRAGMA", "EXPLAIN")

# Writers of one file queue here before they ask SQLite, whose own lock knows no order.
_writers: dict[str, FifoLock] = {}


def writers_of(name: str) -> FifoLock:
    """Return the queue of this process for writers of the database file `name`."""
    path = name if name.startswith("file:") else str(Path(name).resolve())
    return _writers.setdefault(path, FifoLock())


class LoopSQLiteConnection(sqlite3.Connection):
    """A connection whose waits for a busy database are those of its caller.

    `turn`: the right to use the connection. `busy_s`: seconds that a busy database may keep a
    statement waiting here; None leaves that to SQLite's own timeout, as in plain threads.
    """

    turn: Turn
    busy_s: float | None = None
    writers: FifoLock | None = None
    # The wrapper has the place in the queue of writers, from BEGIN to the end.
    writing: bool = False
    closed = False
    # Statements have set something up when it was opened.
    configured = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = Turn(None)

    def close(self) -> None:
        super().close()
        self.closed = True

    def commit(self) -> None:
        with self.turn:
            retry_while_busy(self, super().commit, can_repeat=True)

    def rollback(self) -> None:
        with self.turn:
            super().rollback()


class LoopSQLiteCursor(WatchedCursor, SQLiteCursorWrapper):
    """Django's cursor, in the turn of the caller and patient with other writers."""

    connection: LoopSQLiteConnection
    # Rows that were read ahead of being asked for.
    _rows: list[Any] | None = None

    def execute(self, query: str, params: Any = None) -> Any:  # type: ignore[override]
        self._rows = None
        connection = self.connection
        if type(connection) is not LoopSQLiteConnection:
            return super().execute(query, params)  # a connection class of the user's own
        with connection.turn:
            if connection.busy_s is None:
                return super().execute(query, params)
            if connection.in_transaction:
                return super().execute(query, params)
            try:
                return retry_while_busy(
                    connection, lambda: self._execute_whole(query, params), can_repeat=True
                )
            except asyncio.CancelledError:
                self.close()
                raise

    def _execute_whole(self, query: str, params: Any) -> Any:
        """Execute an autocommit statement, so that it can be repeated as a whole.

        `INSERT ... RETURNING` commits when its last row is read, and a reader in another
        thread or process may make that fail: SQLite then rolls the statement back.
        """
        result = super().execute(query, params)
        if self.description is not None and not query.lstrip().upper().startswith(_READING):
            self._rows = super().fetchall()
        return result

    def executemany(self, query: str, param_list: Any) -> Any:  # type: ignore[override]
        self._rows = None
        connection = self.connection
        if type(connection) is not LoopSQLiteConnection:
            return super().executemany(query, param_list)
        with connection.turn:
            if connection.busy_s is None or connection.in_transaction:
                return super().executemany(query, param_list)
            # In autocommit mode the first rows would be there twice after a second try, so
            # it waits for its place before the first one.
            with _WriterPlace(connection):
                return super().executemany(query, param_list)

    # Fetching needs the turn as well: a thread that joins a block shares the connection, and
    # the sqlite3 module resets a statement that two of its cursors step at the same time.

    def fetchone(self) -> Any:
        if self._rows is not None:
            return self._rows.pop(0) if self._rows else None
        with self._turn:
            return super().fetchone()

    def fetchmany(self, size: int | None = None) -> Any:
        size = self.arraysize if size is None else size
        if self._rows is not None:
            rows, self._rows = self._rows[:size], self._rows[size:]
            return rows
        with self._turn:
            return super().fetchmany(size)

    def fetchall(self) -> Any:
        if self._rows is not None:
            rows, self._rows = self._rows, []
            return rows
        with self._turn:
            return super().fetchall()

    def __next__(self) -> Any:
        if self._rows is None:
            return super().__next__()
        if not self._rows:
            raise StopIteration
        return self._rows.pop(0)

    def close(self) -> None:
        # sqlite3 refuses to close a cursor after its connection; an iterator that the garbage
        # collector finds does just that.
        if not getattr(self.connection, "closed", False):
            super().close()

    @property
    def _turn(self) -> Any:
        return getattr(self.connection, "turn", _no_turn)


def retry_while_busy(
    connection: LoopSQLiteConnection, call: Callable[[], T], *, can_repeat: bool
) -> T:
    """Call `call` until the database is free, for at most `connection.busy_s` seconds.

    The first refusal makes an autocommit statement queue with the writers of this process;
    what is left to wait for then are other processes. Raises SQLite's own
    `OperationalError` ("database is locked") at the deadline.
    """
    try:
        return call()
    except sqlite3.OperationalError as exc:
        if connection.busy_s is None or not can_repeat or not _is_busy(exc):
            raise
    deadline = time.monotonic() + connection.busy_s
    if connection.in_transaction or connection.writing:
        return _repeat(call, deadline)
    with _WriterPlace(connection):
        return _repeat(call, deadline)


def _repeat(call: Callable[[], T], deadline: float) -> T:
    delay = 0.001
    while True:
        try:
            return call()
        except sqlite3.OperationalError as exc:
            left = deadline - time.monotonic()
            if not _is_busy(exc) or left <= 0:
                raise
        # Jitter, so that the processes that wait do not come back all at once.
        pause(min(left, delay * random.uniform(0.5, 1.5)))  # noqa: S311
        delay = min(delay * 2, 0.05)


class _WriterPlace:
    """The place in the queue of writers, for one autocommit statement."""

    def __init__(self, connection: LoopSQLiteConnection) -> None:
        self._writers = None if connection.writing else connection.writers
        self._busy_s = connection.busy_s or 0.0

    def __enter__(self) -> None:
        if self._writers is not None and not self._writers.acquire(self._busy_s):
            self._writers = None
            raise sqlite3.OperationalError("database is locked")

    def __exit__(self, *exc: object) -> None:
        if self._writers is not None:
            self._writers.release()


def _is_busy(exc: sqlite3.OperationalError) -> bool:
    """BUSY and LOCKED can be waited for; a snapshot that is out of date cannot."""
    code = getattr(exc, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and (
        code != sqlite3.SQLITE_BUSY_SNAPSHOT
    )
