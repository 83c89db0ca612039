"""The database wrapper: `ENGINE = "onloop.db.backends.postgresql"`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db.backends.postgresql import base
from psycopg import IsolationLevel

from onloop.db.backends.base import ScopedWrapper, WatchedCursor
from onloop.db.backends.postgresql.connection import LoopConnection, LoopDatabase


class PsycopgDriver:
    """What the pool must know about psycopg connections."""

    def is_clean(self, connection: LoopConnection) -> bool:
        connection.owner = None
        return connection.is_clean

    def is_alive(self, connection: LoopConnection) -> bool:
        return connection.is_alive

    def close(self, connection: LoopConnection) -> None:
        connection.close()


class PostgreSQLMixin(ScopedWrapper):
    """Put it in front of a PostgreSQL wrapper of your own (PostGIS, a tenant's schema)."""

    Database: Any = LoopDatabase()
    pool_driver = PsycopgDriver()
    _connection_pools: dict[str, Any]

    @property
    def pool(self) -> Any:
        """Django's own pool, for plain threads; on the loop there is `loop_pool`."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.scope is not None or not options:
            return None
        if self.alias in self._connection_pools:
            return super().pool  # type: ignore[misc]
        original = self.settings_dict
        plain = dict(options) if isinstance(options, dict) else {}
        plain.pop("mode", None)
        plain.setdefault("connection_class", LoopConnection)
        self.settings_dict = {**original, "OPTIONS": {**original["OPTIONS"], "pool": plain}}
        try:
            return super().pool  # type: ignore[misc]
        finally:
            self.settings_dict = original

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params["cursor_factory"] = _watched(params["cursor_factory"])
        return params

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = super().create_cursor(name)
        if not isinstance(cursor, WatchedCursor):
            # Django names the class of its server-side cursors itself.
            kind: Any = type(cursor)
            cursor.__class__ = _watched(kind)
        self.watch_cursor(cursor)
        return cursor

    def attach_driver(self, connection: Any) -> None:
        if isinstance(connection, LoopConnection):
            connection.lock = self.turn
            connection.owner = self
            level = connection.isolation_level
            self.isolation_level = IsolationLevel.READ_COMMITTED if level is None else level

    def in_transaction(self) -> bool:
        connection: Any = self.connection
        return not connection.closed and not connection.is_clean


class DatabaseWrapper(PostgreSQLMixin, base.DatabaseWrapper):
    """Django's PostgreSQL wrapper, waiting on the loop."""


@lru_cache(maxsize=64)
def _watched(cursor_class: Any) -> Any:
    """Return `cursor_class` as a `WatchedCursor`."""
    if issubclass(cursor_class, WatchedCursor):
        return cursor_class
    return type(cursor_class.__name__, (WatchedCursor, cursor_class), {})
