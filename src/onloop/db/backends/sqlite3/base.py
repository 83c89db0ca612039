"""The database wrapper: `ENGINE = "onloop.db.backends.sqlite3"`."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import base, features
from django.db.utils import OperationalError
from django.utils.asyncio import async_unsafe

from onloop import conf
from onloop.db.backends.base import ScopedWrapper
from onloop.db.backends.sqlite3 import session
from onloop.db.backends.sqlite3.connection import (
    Database,
    LoopSQLiteConnection,
    database_of,
    is_busy,
)
from onloop.db.backends.sqlite3.creation import DatabaseCreation
from onloop.db.backends.sqlite3.cursor import LoopSQLiteCursor
from onloop.db.scope import Scope
from onloop.db.turn import Turn
from onloop.waiting import FifoLock, pause

# Seconds that a busy database may keep a statement waiting: sqlite3's own default.
DEFAULT_TIMEOUT_S = 5.0

# An in-memory database is its connection: one for all scopes and threads, taken in turns.
_in_memory: dict[tuple[str, str], LoopSQLiteConnection] = {}
_turns: dict[tuple[str, str], Turn] = {}
_guard = threading.Lock()


# The cursor of an iterator, in the argument that Django has for names of cursors at a server.
_STREAM = "stream"
_PRAGMA = re.compile(r"\s*PRAGMA\s+(?:\w+\s*\.\s*)?(\w+)", re.IGNORECASE)


class SQLiteDriver:
    """What the pool must know about sqlite3 connections."""

    def is_clean(self, connection: sqlite3.Connection) -> bool:
        if isinstance(connection, LoopSQLiteConnection):
            return connection.is_clean
        return not connection.in_transaction

    def is_alive(self, connection: sqlite3.Connection) -> bool:
        return True

    def close(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def prepare(self, connection: sqlite3.Connection, timeout_s: float) -> None:
        if isinstance(connection, LoopSQLiteConnection):
            connection.turn = Turn(None)  # that of its last wrapper may be in use

    def check(self, connection: sqlite3.Connection) -> None:
        """A file is always there."""

    def tidy(self, connection: sqlite3.Connection) -> None:
        """Cursors of SQLite are closed at once, so nothing is left."""


class SQLiteMixin(ScopedWrapper):
    """Put it in front of a SQLite wrapper of your own (SpatiaLite)."""

    creation_class: Any = DatabaseCreation
    pool_driver = SQLiteDriver()
    session_change = staticmethod(session.session_change)
    # The wrapper's transaction has the place in the queue of writers.
    _writing = False
    # So long it has waited for that: BEGIN waits for the rest of the time.
    _queued_s = 0.0
    # Foreign keys are not checked at the moment, and the connection is kept for that.
    _unchecked = False
    _inline_s = 0.0
    _known: Database | None = None
    if TYPE_CHECKING:
        init_commands: list[str]

    def enter_scope(self, scope: Scope) -> None:
        super().enter_scope(scope)
        self._inline_s = conf.get().SQLITE_INLINE_MS / 1000

    @property
    def turn(self) -> Turn:
        if self.is_in_memory_db():
            turn = _turns.get(self._key)
            return turn if turn is not None else _turns.setdefault(self._key, Turn(self.alias))
        return self._turn

    @property
    def transaction_mode(self) -> str | None:
        """Django's `transaction_mode` option; IMMEDIATE where it is not given, on the loop.

        A deferred transaction that turns out to write fails with SQLITE_BUSY_SNAPSHOT if
        somebody else wrote meanwhile, and that cannot be retried.
        """
        mode = self.settings_dict["OPTIONS"].get("transaction_mode")
        if mode:
            return str(mode).upper()
        return None if self.scope is None else "IMMEDIATE"

    @transaction_mode.setter
    def transaction_mode(self, mode: str | None) -> None:
        """Django sets it whenever it connects; the settings say the same."""

    @property
    def _key(self) -> tuple[str, str]:
        return self.alias, str(self.settings_dict["NAME"])

    @property
    def _database(self) -> Database:
        if self._known is None:
            name = str(self.settings_dict["NAME"])
            if self.is_in_memory_db():
                self._known = database_of(f"{self.alias} {name}", in_memory=True)
            else:
                self._known = database_of(name)
        return self._known

    @property
    def _writers(self) -> FifoLock:
        writers = self._database.writers
        assert writers is not None
        return writers

    @property
    def _timeout_s(self) -> float:
        return float(self.settings_dict["OPTIONS"].get("timeout", DEFAULT_TIMEOUT_S))

    def can_pool(self) -> bool:
        return not self.is_in_memory_db()

    @property
    def must_not_wait(self) -> bool:
        return self._writing  # autocommit writers have connections when they queue

    def connect(self) -> None:
        shared = _in_memory.get(self._key) if self.is_in_memory_db() else None
        if shared is None:
            super().connect()
        else:
            # It is everybody's, and configured: to do that again, in the middle of a statement
            # of another thread, could stop both for good (see `worker`).
            self.get_connection_params()  # raises where the options are wrong
            self._reuse(shared)

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params.pop("pool", None)
        params.setdefault("factory", LoopSQLiteConnection)
        if self.scope is not None:
            params["timeout"] = 0
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.is_in_memory_db():
            with _guard:
                shared = _in_memory.get(self._key)
                if shared is None:
                    shared = _in_memory[self._key] = super().get_new_connection(conn_params)
                    if isinstance(shared, LoopSQLiteConnection):
                        shared.watch_time()
            return shared
        if self.scope is None:
            return super().get_new_connection(conn_params)
        connection = self._open_patiently(conn_params)
        self._set_defaults(connection)
        return connection

    def _open_patiently(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection; an `init_command` may find the file locked by another process."""
        made: list[sqlite3.Connection] = []

        def make(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            made.append(conn_params["factory"](*args, **kwargs))
            return made[-1]

        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return super().get_new_connection({**conn_params, "factory": make})
            except BaseException as exc:
                while made:
                    made.pop().close()
                left = deadline - time.monotonic()
                if left <= 0 or not is_busy(exc):
                    raise
            pause(min(left, 0.01))

    def _set_defaults(self, connection: sqlite3.Connection) -> None:
        """Write-ahead logging, where the settings do not speak of it and the file allows it.

        A file that is locked, read-only or where shared memory cannot be had stays as it is; of
        one that is no database the first statement tells.
        """
        pragmas = map(_PRAGMA.match, self.init_commands)
        given = {pragma.group(1).lower() for pragma in pragmas if pragma is not None}
        try:
            if "journal_mode" not in given:
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
            if "synchronous" not in given:
                (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
                if mode == "wal":  # elsewhere, NORMAL could cost the whole file
                    connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError:
            pass

    @async_unsafe
    def chunked_cursor(self) -> Any:
        return self._cursor(_STREAM)

    def create_cursor(self, name: str | None = None) -> Any:
        connection: Any = self.connection
        cursor = connection.cursor(factory=LoopSQLiteCursor)
        # The connection of a database in memory is everybody's: nothing is left open on it.
        cursor.stream = (
            name is _STREAM
            and self.scope is not None
            and isinstance(connection, LoopSQLiteConnection)
            and not self.is_in_memory_db()
        )
        self.watch_cursor(cursor)
        return cursor

    def attach_driver(self, connection: Any) -> None:
        if isinstance(connection, LoopSQLiteConnection):
            connection.turn = self.turn
            connection.writing = self._writing
            if self.scope is not None:
                connection.busy_s = self._timeout_s
                connection.inline_s = self._inline_s
                connection.database = self._database
                connection.watch_time()

    def in_transaction(self) -> bool:
        connection: Any = self.connection
        # An in-memory connection is everybody's: a transaction on it is no leftover of ours.
        return self._borrowed_from is not None and connection.in_transaction

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        begin = not autocommit and force_begin_transaction_with_broken_autocommit
        if begin and self.scope is not None:
            # Before a connection is borrowed: who waits for its place needs none.
            self._take_place()
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        except BaseException:
            if begin:
                self._leave_place()
            raise

    def _set_autocommit(self, autocommit: bool) -> None:
        ends = autocommit and not self.autocommit  # not so while a connection is being opened
        connection: Any = self.connection
        if getattr(connection, "job", None) is None:  # the worker rolls back when it is done
            super()._set_autocommit(autocommit)
        if ends:
            self._leave_place()

    def _start_transaction_under_autocommit(self) -> None:
        # Django leaves the cursor to the collector; the traceback of a BEGIN that failed would
        # keep it, and the connection with it.
        mode = self.transaction_mode
        queued_s, self._queued_s = self._queued_s, 0.0
        with self.cursor() as cursor:
            connection: Any = self.connection
            waits = self.scope is not None and isinstance(connection, LoopSQLiteConnection)
            if waits:
                connection.busy_s = max(self._timeout_s - queued_s, 0.0)
            try:
                cursor.execute("BEGIN" if mode is None else f"BEGIN {mode}")
            finally:
                if waits:
                    connection.busy_s = self._timeout_s

    def disable_constraint_checking(self) -> bool:
        """Keep the connection until the checks are enabled again: they are a state of it."""
        self._calls += 1
        disabled = False
        try:
            disabled = super().disable_constraint_checking()
        finally:
            if disabled and not self._unchecked:
                self._unchecked = True
            else:
                self._calls -= 1
                self._give_back()
        return disabled

    def enable_constraint_checking(self) -> None:
        super().enable_constraint_checking()
        if self._unchecked:
            self._unchecked = False
            self._calls -= 1
            self._give_back()

    def _hand_back(self, connection: Any) -> None:
        super()._hand_back(connection)
        if self.in_atomic_block and self.is_in_memory_db():
            # Nobody closes this connection, so the transaction is ended by hand; not by
            # `connection.rollback()`, which waits for the turn. It is ours, or another scope
            # would have it.
            if isinstance(connection, LoopSQLiteConnection):
                connection.roll_back_when_free()
            else:
                connection.rollback()
        self._leave_place()

    def _close(self) -> None:
        # The connection of a database in memory is everybody's: Django's `close` leaves it too.
        if not self.is_in_memory_db():
            super()._close()
        self._leave_place()

    def _take_place(self) -> None:
        if self._writing or self.is_in_memory_db() or self.transaction_mode == "DEFERRED":
            return
        began = time.monotonic()
        if not self._writers.acquire(self._timeout_s):
            raise OperationalError(
                f"database is locked: other transactions on {self.alias!r} did not end within "
                f"{self._timeout_s:g} s. Keep transactions short, or raise "
                "OPTIONS['timeout']."
            )
        self._queued_s = time.monotonic() - began
        self._mark_writing(True)

    def _leave_place(self) -> None:
        if self._writing:
            self._mark_writing(False)
            self._writers.release()

    def _mark_writing(self, writing: bool) -> None:
        self._writing = writing
        connection: Any = self.connection
        if isinstance(connection, LoopSQLiteConnection):
            connection.writing = writing


class DatabaseFeatures(features.DatabaseFeatures):
    @property
    def max_query_params(self) -> Any:  # type: ignore[override]
        # Django 6 calls `ensure_connection` to ask, which from anybody else would mean that
        # the connection is wanted until the end of the scope.
        connection: Any = self.connection
        with connection.hold():
            return super().max_query_params


class DatabaseWrapper(SQLiteMixin, base.DatabaseWrapper):
    """Django's SQLite wrapper, for many tasks on one loop.

    What connections of the loop have that those of plain threads do not:

    - `PRAGMA journal_mode = WAL`, which is a property of the file and stays: readers and
      writers do not keep each other waiting. `PRAGMA synchronous = NORMAL` with it: a commit
      does not wait for the disk; after a power cut the last ones may be gone, the file is
      whole. Whichever of the two an `init_command` in `OPTIONS` names is left to it.
      `"init_command": "PRAGMA synchronous = FULL"` waits for the disk;
      `"PRAGMA journal_mode; PRAGMA synchronous"` leaves everything as it is.
    - `BEGIN IMMEDIATE`, unless `OPTIONS["transaction_mode"]` says otherwise.
    - `OPTIONS["timeout"]`, 5 seconds where it is not given, bounds the wait for other writers
      and processes as it does in Django, but the loop goes on.
    - A statement holds the loop for `ONLOOP["SQLITE_INLINE_MS"]` (5): a SELECT outside a
      transaction is stopped there and run again in a worker thread, and texts that proved slow
      begin in one. SQL functions in Python may thus be called in another thread, and twice for
      one query; with 0 every query runs in a worker, once.
    """

    features_class = DatabaseFeatures
