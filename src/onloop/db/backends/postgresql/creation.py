"""Test databases, which can be dropped whatever the tests have left behind.

PostgreSQL drops no database that somebody is connected to. Threads that are alive and event
loops that never ended may have connections open; a session whose client is gone goes on until
its statement ends. Only sessions of this very process are ended: another run that uses the
database, or a person who looks at it, is still in the way, as Django wants it.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import creation

from onloop.db.backends.postgresql.connection import LoopConnection

# Milliseconds that a session has to end.
END_MS = 5000


class DatabaseCreation(creation.DatabaseCreation):
    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        wrapper: Any = self.connection
        wrapper.close_pool()
        with wrapper._nodb_cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
                " WHERE datname = %s AND pid = ANY(%s)",
                [END_MS, test_database_name, list(LoopConnection.backends)],
            )
        super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc]
