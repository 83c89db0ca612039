"""How a psycopg connection was opened, to put it back so for the next borrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection, IsolationLevel
from psycopg.adapt import AdaptersMap


@dataclass(frozen=True, slots=True)
class AsOpened:
    """How a connection was opened. The next borrower finds it so, whatever the last one did.

    What the server keeps is `sessionstate`'s business; this is what psycopg keeps.
    """

    autocommit: bool
    isolation_level: IsolationLevel | None
    read_only: bool | None
    deferrable: bool | None
    row_factory: Any
    cursor_factory: Any
    server_cursor_factory: Any
    prepare_threshold: int | None
    prepared_max: int
    notice_handlers: list[Any]
    notify_handlers: list[Any]
    adapters: AdaptersMap
    dumpers: list[Any]

    @classmethod
    def of(cls, connection: Connection[Any]) -> AsOpened:
        # A copy shares its tables with the original until either registers something.
        adapters = AdaptersMap(connection.adapters)
        return cls(
            connection._autocommit,
            connection._isolation_level,
            connection._read_only,
            connection._deferrable,
            connection.row_factory,
            connection.cursor_factory,
            connection.server_cursor_factory,
            connection.prepare_threshold,
            connection._prepared.prepared_max,
            list(connection._notice_handlers),
            list(connection._notify_handlers),
            adapters,
            list(adapters._dumpers.values()),
        )

    def restore(self, connection: Connection[Any]) -> None:
        """Put `connection`, which is idle, back; called for each return, so be quick."""
        if (
            connection._autocommit is not self.autocommit
            or connection._isolation_level is not self.isolation_level
            or connection._read_only is not self.read_only
            or connection._deferrable is not self.deferrable
        ):
            connection._autocommit = self.autocommit
            connection._isolation_level = self.isolation_level
            connection._read_only = self.read_only
            connection._deferrable = self.deferrable
            connection._begin_statement = b""
        connection.row_factory = self.row_factory
        connection.cursor_factory = self.cursor_factory
        connection.server_cursor_factory = self.server_cursor_factory
        connection._prepared.prepare_threshold = self.prepare_threshold
        connection._prepared.prepared_max = self.prepared_max
        if connection._notice_handlers != self.notice_handlers:
            connection._notice_handlers[:] = self.notice_handlers
        if connection._notify_handlers != self.notify_handlers:
            connection._notify_handlers[:] = self.notify_handlers
        adapters: Any = connection._adapters
        if (
            adapters._loaders != self.adapters._loaders
            or list(adapters._dumpers.values()) != self.dumpers
        ):
            connection._adapters = AdaptersMap(self.adapters)
