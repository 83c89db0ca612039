"""The database wrapper: `ENGINE = "onloop.db.backends.postgresql"`."""

from __future__ import annotations

import math
import os
import sys
from functools import lru_cache
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.utils.functional import cached_property
from psycopg import IsolationLevel, pq

from onloop import bridge
from onloop.db.backends.base import ScopedWrapper
from onloop.db.backends.cursors import WatchedCursor
from onloop.db.backends.options import answer_timeout_s
from onloop.db.backends.postgresql import session
from onloop.db.backends.postgresql.begin import BeginningCursor
from onloop.db.backends.postgresql.connection import LoopConnection
from onloop.db.backends.postgresql.creation import DatabaseCreation
from onloop.db.backends.postgresql.lost import LostConnections
from onloop.db.backends.postgresql.opening import LoopDatabase
from onloop.db.pool import PoolOptions
from onloop.db.turn import Turn
from onloop.waiting import running_loop

_IDLE = pq.TransactionStatus.IDLE
_BAD = pq.ConnStatus.BAD


class PsycopgDriver:
    """What the pool must know about psycopg connections."""

    # Each query borrows and gives back: what the connection would do is done in place.

    def is_clean(self, connection: LoopConnection) -> bool:
        connection.owner = None
        if (
            connection.pgconn.transaction_status != _IDLE
            or connection._pipeline is not None
            or connection._tpc is not None
        ):
            return False
        opened_as = connection.opened_as
        if opened_as is not None:
            opened_as.restore(connection)
        return True

    def is_alive(self, connection: LoopConnection) -> bool:
        poll = connection._poll
        if poll is not None and connection.pgconn.status != _BAD and not poll.poll(0):
            return True
        return connection.is_alive

    def close(self, connection: LoopConnection) -> None:
        connection.close()

    def prepare(self, connection: LoopConnection, timeout_s: float) -> None:
        setting = connection.answer_timeout_s
        connection.limit_s = timeout_s if setting is None else min(setting, timeout_s)
        connection.lock = Turn(None)  # that of its last wrapper may be in use
        connection.owner = None

    def tidy(self, connection: LoopConnection) -> None:
        connection.execute("CLOSE ALL")

    def check(self, connection: LoopConnection) -> None:
        """Ask the server whether it is there: psycopg_pool's `check_connection`."""
        connection.execute("")


class PostgreSQLMixin(ScopedWrapper):
    """Put it in front of a PostgreSQL wrapper of your own (PostGIS, a tenant's schema)."""

    Database: Any = LoopDatabase()
    creation_class: Any = DatabaseCreation
    pool_driver = PsycopgDriver()
    session_change = staticmethod(session.session_change)
    wrap_database_errors: Any = cached_property(LostConnections)
    _connection_pools: dict[str, Any]

    @property
    def pool(self) -> Any:
        """Django's own pool, for plain threads; on the loop there is `loop_pool`."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.scope is not None or not options:
            return None
        if self.connection is not None:
            if getattr(self.connection, "_pool", None) is None:
                return None  # opened by hand, so it is closed by hand
        elif running_loop() is not None:
            return None  # an ad hoc copy: waiting for that pool would block the loop
        if self.alias in self._connection_pools:
            return super().pool  # type: ignore[misc]
        original = self.settings_dict
        plain = dict(options) if isinstance(options, dict) else {}
        plain.pop("mode", None)
        plain.setdefault("connection_class", LoopConnection)
        if isinstance(plain.get("max_size"), int):
            # psycopg_pool's default would refuse a pool that is fine on the loop.
            plain.setdefault("min_size", min(4, plain["max_size"]))
        elif plain.get("min_size") == 0 and plain.get("max_size") is None:
            plain["max_size"] = 1 if "max_size" in plain else PoolOptions.max_size
        # Django 5.2 gives the pool a `check` of its own besides, which would be one too many.
        check = plain.pop("check", None)
        self.settings_dict = {**original, "OPTIONS": {**original["OPTIONS"], "pool": plain}}
        try:
            pool: Any = super().pool  # type: ignore[misc]
        finally:
            self.settings_dict = original
        if check is not None:
            pool._check = check  # before it is opened
        return pool

    def close_pool(self) -> None:
        super().close_pool()
        # Not by Django's own `close_pool`, which would make a pool in order to close it.
        own = self._connection_pools.pop(self.alias, None)
        if own is not None:
            own.close()

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params["cursor_factory"] = _watched(params["cursor_factory"])
        params.pop("answer_timeout", None)
        return params

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = super().create_cursor(name)
        if not isinstance(cursor, WatchedCursor):
            # Without server-side binding Django names the class of named cursors itself.
            kind: Any = type(cursor)
            cursor.__class__ = _watched(kind)
        self.watch_cursor(cursor)
        return cursor

    def attach_driver(self, connection: Any) -> None:
        if isinstance(connection, LoopConnection):
            connection.lock = self.turn
            connection.owner = self
            connection.limit_s = connection.answer_timeout_s
            if connection.opened_as is None:
                connection.remember()
            level = connection._isolation_level
            self.isolation_level = IsolationLevel.READ_COMMITTED if level is None else level

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        limit_s = answer_timeout_s(self)
        pool = self.loop_pool
        if pool is not None and not (
            {"connect_timeout", "service"} & set(conn_params)
            or "PGCONNECT_TIMEOUT" in os.environ
        ):
            # psycopg's own default is over two minutes.
            conn_params = {**conn_params, "connect_timeout": math.ceil(pool.options.timeout)}
        connection = super().get_new_connection(conn_params)
        if isinstance(connection, LoopConnection):
            connection.owner = self
            connection.answer_timeout_s = connection.limit_s = limit_s
            named: Any = connection.server_cursor_factory
            connection.server_cursor_factory = _watched(named)
        return connection

    def drop_connection(self) -> None:
        connection: Any = self.connection
        if running_loop() is None and isinstance(connection, LoopConnection):
            try:
                # A server whose client is gone goes on with the statement, and keeps its locks.
                connection.cancel()
            except psycopg.Error:
                pass  # the server is gone too
        super().drop_connection()

    def in_transaction(self) -> bool:
        connection: Any = self.connection
        return not connection.closed and not connection.is_clean


class DatabaseWrapper(PostgreSQLMixin, base.DatabaseWrapper):
    """Django's PostgreSQL wrapper, waiting on the loop."""


def _forget_plain_pools() -> None:
    """In a forked child: Django's own pools are of its parent, whose threads it lacks."""
    kept: Any = base.DatabaseWrapper
    _inherited.append(dict(kept._connection_pools))
    kept._connection_pools.clear()


# What a fork took over; kept, because a finaliser would speak to the parent's servers.
_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget_plain_pools)


class WatchedPsycopgCursor(WatchedCursor, BeginningCursor):
    """A cursor of psycopg, made by the wrapper or on the connection itself."""

    _conn: Any

    def borrower(self) -> Any:
        wrapper = getattr(self._conn, "owner", None)
        return None if wrapper is None or wrapper.scope is None else wrapper

    def copy(self, statement: Any, params: Any = None, **kwargs: Any) -> Any:
        self._about_to(statement, params)
        return super().copy(statement, params, **kwargs)  # type: ignore[misc]

    def stream(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        self._about_to(query, params)
        return super().stream(query, params, **kwargs)  # type: ignore[misc]


class WatchedServerCursor(WatchedPsycopgCursor):
    """A server-side cursor, which takes a round trip to close.

    A loop that is left by `break` closes it from a finaliser. An exception would be lost
    there, a cancellation above all, and outside a bridge there is no waiting at all.
    """

    def close(self) -> None:
        if _can_wait():
            owner = self.owner
            try:
                if owner is None:
                    super().close()
                else:
                    # Django wraps no errors of `close`, and most cursors have none.
                    with owner.wrap_database_errors:
                        super().close()
                return
            finally:
                self.abandon()
        else:
            self.release(left_behind=not self.abandon())

    def abandon(self) -> bool:
        was_open = not self.closed  # type: ignore[attr-defined]
        psycopg.Cursor.close(self)  # type: ignore[arg-type]
        return not was_open

    def __del__(self) -> None:
        self.collected(left_behind=not self.closed)  # type: ignore[attr-defined]
        super().__del__()


def _can_wait() -> bool:
    if bridge.active():
        return not isinstance(sys.exception(), GeneratorExit)
    return running_loop() is None


@lru_cache(maxsize=64)
def _watched(cursor_class: Any) -> Any:
    """Return `cursor_class` as a `WatchedCursor`."""
    if issubclass(cursor_class, WatchedCursor):
        return cursor_class
    server_side = issubclass(cursor_class, psycopg.ServerCursor)
    mixin = WatchedServerCursor if server_side else WatchedPsycopgCursor
    return type(cursor_class.__name__, (mixin, cursor_class), {})
