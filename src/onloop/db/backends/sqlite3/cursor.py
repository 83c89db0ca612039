"""SQLite cursors: in the turn of the caller, patient with other writers, and never long.

Rows are read whole when a statement is executed, so that no read lock outlives it and a query
can be run again; only a stream (`QuerySet.iterator()`) leaves them in SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from greenlet import getcurrent

from onloop.bridge import Bridge, interrupts
from onloop.db.backends.cursors import WatchedCursor
from onloop.db.backends.sqlite3.connection import (
    LoopSQLiteConnection,
    call_when_free,
    can_wait,
    in_worker,
    retry_while_busy,
)
from onloop.db.backends.sqlite3.inline import Kind, kind_of

# For connection classes of the user's own.
_no_turn = nullcontext()

# A write may hold the loop for as many budgets: with a checkpoint or an fsync now and then it
# is no slow statement yet.
_WRITE_BUDGETS = 10
# Rows that a worker reads between two looks at whether it is still wanted.
_ROWS_AT_ONCE = 500


class LoopSQLiteCursor(WatchedCursor, SQLiteCursorWrapper):
    """Django's cursor. `stream`: rows are left in SQLite until they are asked for."""

    connection: Any
    stream = False
    # Rows that were read ahead of being asked for, and how many of them were handed out.
    _rows: list[Any] | None = None
    _handed_out = 0
    _rowcount: int | None = None
    # Of a stream: what is executed, while no row of it has been handed out; and where it runs.
    _query: Any = None
    _params: Any = None
    _untouched = False
    _in_worker = False

    # --- Executing --------------------------------------------------------------------------

    def execute(self, query: Any, params: Any = None) -> Any:  # type: ignore[override]
        self._rows = self._rowcount = None
        connection = self.connection
        if not isinstance(connection, LoopSQLiteConnection):
            return super().execute(query, params)  # a connection class of the user's own
        try:
            with connection.turn:
                if connection.busy_s is None:
                    return super().execute(query, params)
                try:
                    try:
                        return self._perform(query, params)
                    except sqlite3.OperationalError as exc:
                        if not can_wait(exc, connection):
                            raise
                    return call_when_free(connection, partial(self._perform, query, params))
                except asyncio.CancelledError as exc:
                    self._cancelled(exc)
                    raise
        except BaseException as exc:
            if interrupts(exc):
                self._interrupted()  # while it waited for the turn
            raise

    def _perform(self, query: Any, params: Any) -> Any:
        """Execute inline, or in a worker if the text is known to be slow or proves to be."""
        connection = self.connection
        if connection.job is not None:
            connection.check_free()
        if type(getcurrent()) is not Bridge:
            connection.look_often(False)
            return self._run(query, params)  # in a thread, which may block, as ever
        kind = kind_of(query)
        if kind is Kind.OTHER:
            return self._run(query, params)
        inline_s = connection.inline_s
        slow_texts = connection.database.slow_texts
        if not inline_s or query in slow_texts.now:
            return self._run_in_worker(query, params, kind)
        budget = connection.budget
        if kind is Kind.READ and budget is not None and not connection.in_transaction:
            connection.look_often(True)
            budget.spent = False
            budget.deadline = time.monotonic() + inline_s
            try:
                return self._run(query, params)
            except sqlite3.OperationalError:
                if not budget.spent:
                    raise
            finally:
                budget.deadline = math.inf
            slow_texts.add(query)
            return self._run_in_worker(query, params, kind)
        # A write is not run twice, nor is anything in a transaction: it takes its time.
        connection.look_often(False)
        ends = time.monotonic() + (inline_s if kind is Kind.READ else inline_s * _WRITE_BUDGETS)
        result = self._run(query, params)
        if time.monotonic() > ends:
            slow_texts.add(query)
        return result

    def _run(self, query: Any, params: Any) -> Any:
        """Execute a statement as a whole.

        `INSERT ... RETURNING` commits when its last row is read, and a reader in another
        thread or process may make that fail: SQLite then rolls the statement back.
        """
        result = super().execute(query, params)
        if self.description is not None:
            if self._leaves_rows(query):
                self._begin_stream(query, params)
            else:
                self._rows = super().fetchall()
                self._handed_out = 0
        return result

    def _run_in_worker(self, query: Any, params: Any, kind: Kind) -> Any:
        connection = self.connection
        reads = kind is Kind.READ
        # To stop a write in a transaction would roll the whole transaction back.
        stoppable = reads or not connection.in_transaction
        _, cpu_s = in_worker(
            connection, partial(self._run_by_worker, query, params), stoppable=stoppable
        )
        limit_s = connection.inline_s if reads else connection.inline_s * _WRITE_BUDGETS
        connection.database.slow_texts.ran(query, quick=cpu_s < limit_s / 2)
        return self

    def _run_by_worker(self, query: Any, params: Any) -> None:
        super().execute(query, params)
        if self.description is None:
            return
        if self._leaves_rows(query):
            self._begin_stream(query, params)
            self._in_worker = True
            return
        rows: list[Any] = []
        while some := super().fetchmany(_ROWS_AT_ONCE):
            rows += some
            job = self.connection.job
            if job is not None and job.stopped:
                raise sqlite3.OperationalError("interrupted")
        self._rows = rows
        self._handed_out = 0

    def executemany(  # type: ignore[override]
        self, query: Any, param_list: Iterable[Any]
    ) -> Any:
        self._rows = None
        self._rowcount = None
        connection = self.connection
        if not isinstance(connection, LoopSQLiteConnection):
            return super().executemany(query, param_list)
        with connection.turn:
            if connection.busy_s is None:
                return super().executemany(query, param_list)
            connection.check_free()
            connection.look_often(False)
            # Each row is a statement of its own. One that is refused has not been written, and
            # is where the next attempt goes on.
            rows = _Rows(param_list)
            try:
                return retry_while_busy(connection, partial(self._go_on, query, rows))
            except asyncio.CancelledError as exc:
                self._cancelled(exc)
                raise

    def executescript(self, query: str) -> Any:
        """Of the sqlite3 module: several statements, which hold the loop to their end."""
        connection = self.connection
        with getattr(connection, "turn", _no_turn):
            if isinstance(connection, LoopSQLiteConnection):
                connection.check_free()
                connection.look_often(False)
            # After a blank, all of it is looked at, however it begins.
            self._about_to(f" {query}", None)
            return super().executescript(query)

    def _go_on(self, query: Any, rows: _Rows) -> Any:
        if rows.begun:
            self._rowcount = -1  # that of one attempt would be wrong
        return super().executemany(query, rows.rest())

    def _cancelled(self, exc: BaseException) -> None:
        if self.owner is not None:
            self.owner.statement_cancelled(exc)
        self.close()

    @property
    def rowcount(self) -> int:
        return super().rowcount if self._rowcount is None else self._rowcount

    # --- Fetching ---------------------------------------------------------------------------

    def fetchone(self) -> Any:
        if self._rows is None:
            return self._fetch(super().fetchone)
        rows = self._take(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> Any:
        size = self.arraysize if size is None else size
        if self._rows is None:
            return self._fetch(super().fetchmany, size)
        return self._take(size)

    def fetchall(self) -> Any:
        if self._rows is None:
            return self._fetch(super().fetchall)
        return self._take(len(self._rows))

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def _take(self, count: int) -> list[Any]:
        rows = self._rows
        assert rows is not None
        begin = self._handed_out
        if begin == 0 and count >= len(rows):
            self._rows = []
            return rows
        self._handed_out = begin + count
        return rows[begin : begin + count]

    # --- Streams ----------------------------------------------------------------------------

    def _leaves_rows(self, query: Any) -> bool:
        # A write with RETURNING ends, and commits, when its last row is read.
        return self.stream and kind_of(query) is Kind.READ

    def _begin_stream(self, query: Any, params: Any) -> None:
        self._query, self._params = query, params
        self._untouched = True
        self._in_worker = False
        self.connection.streams.add(self)

    def _fetch(self, call: Callable[..., Any], *args: Any) -> Any:
        """Fetch from SQLite, in the turn.

        A thread that joins a block shares the connection, and the sqlite3 module resets a
        statement that two of its cursors step at the same time.
        """
        connection = self.connection
        with getattr(connection, "turn", _no_turn):
            if self._rows is not None:  # `read_rest` was here while this waited for the turn
                return getattr(self, call.__name__)(*args)
            untouched, self._untouched = self._untouched, False
            if not self.stream:
                return call(*args)
            connection.check_free()
            if type(getcurrent()) is not Bridge:
                connection.look_often(False)
                return call(*args)
            try:
                if not self._in_worker:
                    return self._fetch_inline(partial(call, *args), untouched)
                return in_worker(connection, partial(call, *args), stoppable=True)[0]
            except asyncio.CancelledError as exc:
                self._cancelled(exc)
                raise

    def _fetch_inline(self, call: Callable[[], Any], untouched: bool) -> Any:
        """Fetch on the loop; the first rows can be had again, from a worker, the others not."""
        connection = self.connection
        budget = connection.budget
        ends = time.monotonic() + connection.inline_s
        if untouched and budget is not None and not connection.in_transaction:
            connection.look_often(True)
            budget.spent = False
            budget.deadline = ends
            try:
                return call()
            except sqlite3.OperationalError:
                if not budget.spent:
                    raise
            finally:
                budget.deadline = math.inf
            self._stays_in_worker()
            again = partial(self._again, call)
            return retry_while_busy(
                connection, lambda: in_worker(connection, again, stoppable=True)[0]
            )
        connection.look_often(False)
        result = call()
        if time.monotonic() > ends:
            self._stays_in_worker()
        return result

    def _stays_in_worker(self) -> None:
        self._in_worker = True
        self.connection.database.slow_texts.add(self._query)

    def _again(self, call: Callable[[], Any]) -> Any:
        super().execute(self._query, self._params)
        return call()

    def read_rest(self) -> None:
        """Read what is left in SQLite; the caller has the turn."""
        try:
            self._rows, _ = in_worker(self.connection, super().fetchall, stoppable=True)
            self._handed_out = 0
        except BaseException:
            self.close()  # the rows must not simply be fewer
            raise
        self.connection.streams.discard(self)

    # --- Closing ----------------------------------------------------------------------------

    def close(self) -> None:
        connection = self.connection
        if not isinstance(connection, LoopSQLiteConnection):
            super().close()
            return
        self._rows = None
        if self.stream:
            connection.streams.discard(self)
        # sqlite3 refuses to close a cursor after its connection; an iterator that the garbage
        # collector finds does just that.
        if connection.closed:
            return
        job = connection.job
        if job is None or not job.later(partial(sqlite3.Cursor.close, self)):
            super().close()
        else:
            self.release(left_behind=False)

    def abandon(self) -> bool:
        connection = self.connection
        job = getattr(connection, "job", None)
        if job is not None and job.later(partial(sqlite3.Cursor.close, self)):
            return True  # before the connection, which the pool will not keep, is free
        # The worker may have closed the connection at its end, at this very moment.
        with contextlib.suppress(sqlite3.ProgrammingError):
            return super().abandon()
        return True


class _Rows:
    """The rows of an `executemany`, which can go on at the one that was refused."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = iter(rows)
        self._last: Any = None
        self.begun = False

    def rest(self) -> Iterator[Any]:
        return self._noted(chain([self._last], self._rows) if self.begun else self._rows)

    def _noted(self, rows: Iterator[Any]) -> Iterator[Any]:
        for row in rows:
            self._last, self.begun = row, True
            yield row
