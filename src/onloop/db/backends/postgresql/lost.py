"""Which of the driver's errors say that a connection was lost, and what Django raises then."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import psycopg
from django.db.utils import DatabaseErrorWrapper

from onloop.db.errors import ConnectionLost

# A server that is shut down, that has crashed, that has just started; and class 08, "connection
# exception", which poolers in between use as well.
_GOODBYES = {"57P01", "57P02", "57P03"}


class LostConnections(DatabaseErrorWrapper):
    """Django's own translation of errors, and `ConnectionLost` where it applies."""

    wrapper: Any

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            return
        if isinstance(exc, psycopg.OperationalError) and self._is_lost(exc):
            self.wrapper.errors_occurred = True
            raise ConnectionLost(*exc.args).with_traceback(tb) from exc
        super().__exit__(exc_type, exc, tb)

    def _is_lost(self, exc: psycopg.OperationalError) -> bool:
        connection = self.wrapper.connection
        if connection is None:
            return False  # it was being opened
        if exc.sqlstate is None:
            return bool(connection.closed)
        return exc.sqlstate in _GOODBYES or exc.sqlstate.startswith("08")
