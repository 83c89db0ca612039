"""Test databases of SQLite, which go with what lies beside them.

Django removes the file. A connection that the tests have left open keeps a write-ahead log and
its index beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import creation

BESIDE = ("-journal", "-wal", "-shm")


class DatabaseCreation(creation.DatabaseCreation):
    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        wrapper: Any = self.connection
        wrapper.close_pool()
        super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc]
        if test_database_name and not self.is_in_memory_db(test_database_name):
            for suffix in BESIDE:
                Path(str(test_database_name) + suffix).unlink(missing_ok=True)
