"""The tests' own way into their databases: schema, clean-up, and looking on from outside.

Everything but `create_schema` goes through the drivers' plain connections, never through
Django's: what the engine under test leaves behind must not depend on the engine.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tests.postgres import DATABASE, OTHER_DATABASE, Place

KINDS = ("postgresql", "sqlite")
ALIASES = {"default": DATABASE, "other": OTHER_DATABASE}
# Rows that `migrate` wrote and that belong to the schema.
KEPT = {"django_migrations", "django_content_type", "auth_permission"}
# In pg_stat_activity: the test process, and this module looking on and emptying tables.
APPLICATION_NAME = "onloop-tests"
OBSERVER_NAME = "onloop-observer"
CLEANER_NAME = "onloop-cleaner"
LOCK_TIMEOUT_S = 20
# How long closed connections may take to end at the server.
ENDS_S = 2.0


class LeftBehind(AssertionError):
    """A test ended while a connection still held rows or tables that it had touched."""


@dataclass(frozen=True)
class Activity:
    """One backend as pg_stat_activity shows it."""

    pid: int
    application_name: str
    state: str | None
    wait_event_type: str | None
    query: str


class TestDatabases:
    """The two databases, `default` and `other`, of the kind that this run is about."""

    __test__ = False  # not a class of tests, whatever its name

    def __init__(self, kind: str, folder: Path, place: Place | None) -> None:
        self.kind = kind
        self.folder = folder
        self.place = place
        self._tables: dict[str, list[str]] = {}
        self._cleaners: dict[str, psycopg.Connection[Any]] = {}
        self._kept: set[int] = set()

    def environment(self) -> dict[str, str]:
        """What `tests.project.settings` has to know."""
        if self.place is None:
            return {"ONLOOP_TEST_DB": self.kind, "ONLOOP_TEST_FOLDER": str(self.folder)}
        return {
            "ONLOOP_TEST_DB": self.kind,
            "ONLOOP_TEST_HOST": self.place.socket_dir,
            "ONLOOP_TEST_PORT": str(self.place.port),
        }

    def connect(
        self,
        alias: str = "default",
        *,
        application_name: str = OBSERVER_NAME,
        **parameters: Any,
    ) -> psycopg.Connection[Any]:
        """A plain synchronous connection in autocommit mode, for PostgreSQL."""
        assert self.place is not None, "this run has no PostgreSQL"
        return psycopg.connect(
            **self.place.parameters(dbname=ALIASES[alias]),
            autocommit=True,
            application_name=application_name,
            **parameters,
        )

    @contextmanager
    def file(self, alias: str = "default") -> Iterator[sqlite3.Connection]:
        """A plain connection in autocommit mode to the file of SQLite."""
        path = self.folder / f"{ALIASES[alias]}.sqlite3"
        with closing(
            sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        ) as connection:
            yield connection

    def create_schema(self) -> None:
        """`migrate` on each alias, once per run."""
        from django.core.management import call_command
        from django.db import connections

        for alias in ALIASES:
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
        connections.close_all()
        close_pools()

    def clean(self) -> None:
        """Delete all rows that tests have written and start the counters again.

        Raises `LeftBehind` if a transaction that a test left open holds one of the tables.
        """
        for alias in ALIASES:
            if self.kind == "sqlite":
                self._clean_sqlite(alias)
            else:
                self._clean_postgresql(alias)

    def close(self) -> None:
        """Close the connections that `clean` keeps."""
        while self._cleaners:
            self._cleaners.popitem()[1].close()

    def _clean_postgresql(self, alias: str) -> None:
        connection = self._cleaner(alias)
        try:
            self._clean_by(connection, alias)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
            # A test has killed all back ends, or restarted the server.
            connection = self._cleaner(alias)
            self._clean_by(connection, alias)
        self._wait_for_ends(connection)

    def _wait_for_ends(self, connection: psycopg.Connection[Any]) -> None:
        """What this process has closed takes a moment to end: no later test shall see it."""
        deadline = time.monotonic() + ENDS_S
        there = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        ours = f"{there} AND application_name = '{APPLICATION_NAME}'"
        while left := {pid for (pid,) in connection.execute(ours)} - self._kept:
            if time.monotonic() > deadline:
                self._kept |= left  # not closed: it is waited for once
            time.sleep(0.001)

    def _cleaner(self, alias: str) -> psycopg.Connection[Any]:
        """A connection that is kept: a fresh one takes 15 ms until its caches are filled."""
        kept = self._cleaners.get(alias)
        if kept is None or kept.closed:
            kept = self._cleaners[alias] = self.connect(alias, application_name=CLEANER_NAME)
        return kept

    def _clean_by(self, connection: psycopg.Connection[Any], alias: str) -> None:
        connection.execute(f"SET lock_timeout = {round(LOCK_TIMEOUT_S * 1000)}")
        if alias not in self._tables:
            rows = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
            self._tables[alias] = [name for (name,) in rows if name not in KEPT]
        try:
            self._empty(connection, self._tables[alias])
        except psycopg.errors.LockNotAvailable:
            # The culprits must not fail the tests that follow.
            holders = connection.execute(
                "SELECT pid, application_name, state, query, pg_terminate_backend(pid)"
                " FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            ).fetchall()
            self._empty(connection, self._tables[alias])
            raise LeftBehind(
                "The test left transactions open (pid, application, state, last query): "
                + "; ".join(str(holder[:4]) for holder in holders)
            ) from None

    @staticmethod
    def _empty(connection: psycopg.Connection[Any], names: list[str]) -> None:
        """Delete all rows, under locks for which everyone who has touched a table must be gone.

        So a transaction left open is noticed after the test that left it. TRUNCATE would do
        the same in 150 ms for what takes 1 ms: it makes new files for every table and index.
        """
        tables = [sql.Identifier(name) for name in names]
        filled = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(name, table)
            for name, table in zip(names, tables, strict=True)
        )
        with connection.transaction():
            connection.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
                    sql.SQL(", ").join(tables)
                )
            )
            connection.execute(
                "SET LOCAL session_replication_role = replica"
            )  # no foreign keys
            for (name,) in connection.execute(filled).fetchall():
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
            connection.execute(
                "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass,"
                " start_value, false) FROM pg_sequences WHERE last_value IS NOT NULL"
            )

    def _clean_sqlite(self, alias: str) -> None:
        with self.file(alias) as connection:
            if alias not in self._tables:
                rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                self._tables[alias] = [name for (name,) in rows if name not in KEPT]
            try:
                connection.execute("BEGIN IMMEDIATE")
                # Foreign keys are checked only where a connection asks for it; this does not.
                for name in self._tables[alias]:  # sqlite_sequence is among them
                    connection.execute(f'DELETE FROM "{name}"')
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise LeftBehind(f"The test left a transaction open ({error}).") from None

    def activity(
        self,
        query: str = "",
        *,
        state: str | None = None,
        application_name: str | None = None,
        alias: str = "default",
    ) -> list[Activity]:
        """The backends of a database whose last statement contains `query`, oldest first.

        Asked for over a connection of its own, which is not among them, nor is the cleaner's.
        """
        with (
            self.connect(alias) as connection,
            connection.cursor(row_factory=class_row(Activity)) as cursor,
        ):
            cursor.execute(
                "SELECT pid, application_name, state, wait_event_type, query"
                " FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend' AND application_name <> %(cleaner)s"
                " AND position(%(query)s in query) > 0"
                " AND (%(state)s::text IS NULL OR state = %(state)s)"
                " AND (%(name)s::text IS NULL OR application_name = %(name)s)"
                " ORDER BY backend_start",
                {
                    "query": query,
                    "state": state,
                    "name": application_name,
                    "cleaner": CLEANER_NAME,
                },
            )
            return cursor.fetchall()


def close_pools() -> None:
    """Close the pools of this process, those of loops that have ended included."""
    from django.db import connections

    for alias in connections:
        close_pool = getattr(connections[alias], "close_pool", None)
        if close_pool is not None:
            close_pool()


def export(databases: TestDatabases) -> None:
    """Put what the settings need into the environment, where started servers find it too."""
    for name in ("ONLOOP_TEST_FOLDER", "ONLOOP_TEST_HOST", "ONLOOP_TEST_PORT"):
        os.environ.pop(name, None)
    os.environ.update(databases.environment())
    os.environ["PGAPPNAME"] = APPLICATION_NAME
