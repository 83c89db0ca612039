"""The database wrapper: `ENGINE = "onloop.db.backends.sqlite3"`."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

from django.db.backends.sqlite3 import base, features
from django.db.utils import OperationalError
from django.utils.functional import cached_property

from onloop.db.backends.base import ScopedWrapper
from onloop.db.backends.sqlite3 import session
from onloop.db.backends.sqlite3.connection import (
    LoopSQLiteConnection,
    LoopSQLiteCursor,
    writers_of,
)
from onloop.db.turn import Turn

# Seconds that a busy database may keep a statement waiting: sqlite3's own default.
DEFAULT_TIMEOUT_S = 5.0

# An in-memory database is its connection: one for all scopes and threads, taken in turns.
_in_memory: dict[tuple[str, str], LoopSQLiteConnection] = {}
_turns: dict[tuple[str, str], Turn] = {}
_guard = threading.Lock()


class SQLiteDriver:
    """What the pool must know about sqlite3 connections."""

    def is_clean(self, connection: sqlite3.Connection) -> bool:
        return not connection.in_transaction

    def is_alive(self, connection: sqlite3.Connection) -> bool:
        return True

    def close(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def prepare(self, connection: sqlite3.Connection) -> None:
        if isinstance(connection, LoopSQLiteConnection):
            connection.turn = Turn(None)  # that of its last wrapper may be in use

    def tidy(self, connection: sqlite3.Connection) -> None:
        """Cursors of SQLite are closed at once, so nothing is left."""


class SQLiteMixin(ScopedWrapper):
    """Put it in front of a SQLite wrapper of your own (SpatiaLite)."""

    pool_driver = SQLiteDriver()
    session_change = staticmethod(session.session_change)
    # The wrapper's transaction has the place in the queue of writers.
    _writing = False

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
    def _timeout_s(self) -> float:
        return float(self.settings_dict["OPTIONS"].get("timeout", DEFAULT_TIMEOUT_S))

    def can_pool(self) -> bool:
        return not self.is_in_memory_db()

    @property
    def must_not_wait(self) -> bool:
        return self._writing  # autocommit writers have connections when they queue

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params.pop("pool", None)
        params.setdefault("factory", LoopSQLiteConnection)
        if self.scope is not None:
            params["timeout"] = 0
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not self.is_in_memory_db():
            return super().get_new_connection(conn_params)
        with _guard:
            shared = _in_memory.get(self._key)
            if shared is None:
                shared = _in_memory[self._key] = super().get_new_connection(conn_params)
        return shared

    def create_cursor(self, name: str | None = None) -> Any:
        connection: Any = self.connection
        cursor = connection.cursor(factory=LoopSQLiteCursor)
        self.watch_cursor(cursor)
        return cursor

    def attach_driver(self, connection: Any) -> None:
        if isinstance(connection, LoopSQLiteConnection):
            connection.turn = self.turn
            connection.writing = self._writing
            if self.scope is not None:
                connection.busy_s = self._timeout_s
                if not self.is_in_memory_db():
                    connection.writers = writers_of(str(self.settings_dict["NAME"]))

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
        super()._set_autocommit(autocommit)
        if ends:
            self._leave_place()

    def _start_transaction_under_autocommit(self) -> None:
        # Django leaves the cursor to the collector; the traceback of a BEGIN that failed would
        # keep it, and the connection with it.
        mode = self.transaction_mode
        with self.cursor() as cursor:
            cursor.execute("BEGIN" if mode is None else f"BEGIN {mode}")

    def _hand_back(self, connection: Any) -> None:
        super()._hand_back(connection)
        if self.in_atomic_block and self.is_in_memory_db():
            # Nobody closes this connection, so the transaction is ended by hand; not by
            # `connection.rollback()`, which waits for the turn. It is ours, or another scope
            # would have it.
            sqlite3.Connection.rollback(connection)
        self._leave_place()

    def _close(self) -> None:
        super()._close()
        self._leave_place()

    def _take_place(self) -> None:
        if self._writing or self.is_in_memory_db() or self.transaction_mode == "DEFERRED":
            return
        if not writers_of(str(self.settings_dict["NAME"])).acquire(self._timeout_s):
            raise OperationalError(
                f"database is locked: other transactions on {self.alias!r} did not end within "
                f"{self._timeout_s:g} s. Keep transactions short, or raise "
                "OPTIONS['timeout']."
            )
        self._mark_writing(True)

    def _leave_place(self) -> None:
        if self._writing:
            self._mark_writing(False)
            writers_of(str(self.settings_dict["NAME"])).release()

    def _mark_writing(self, writing: bool) -> None:
        self._writing = writing
        connection: Any = self.connection
        if isinstance(connection, LoopSQLiteConnection):
            connection.writing = writing


class DatabaseFeatures(features.DatabaseFeatures):
    @cached_property
    def max_query_params(self) -> Any:  # type: ignore[override]
        # Django 6 calls `ensure_connection` to ask, which from anybody else would mean that
        # the connection is wanted until the end of the scope.
        connection: Any = self.connection
        with connection.hold():
            return super().max_query_params


class DatabaseWrapper(SQLiteMixin, base.DatabaseWrapper):
    """Django's SQLite wrapper, for many tasks on one loop."""

    features_class = DatabaseFeatures
