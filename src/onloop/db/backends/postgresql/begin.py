"""BEGIN, sent together with the first statement of a transaction.

psycopg sends BEGIN and waits for the answer before it sends the statement: a round trip, and on
the loop a turn of everybody else's, for an answer that says nothing. Here both go out at once,
in libpq's pipeline mode, with one Sync behind them: if BEGIN fails, the server skips the
statement; if the statement fails, the transaction is there and has failed, as ever.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from psycopg import errors, generators, pq
from psycopg._capabilities import capabilities

Steps = Generator[Any, Any, None]

_IDLE = pq.TransactionStatus.IDLE
_COMMAND_OK = pq.ExecStatus.COMMAND_OK
_HAS_PIPELINE = capabilities.has_pipeline()


class BeginningCursor:
    """Mixin for the cursors of a `LoopConnection`."""

    # Of psycopg's own.
    _conn: Any
    _encoding: str
    format: Any
    _start_query: Any
    _convert_query: Any
    _execute_send: Any
    _check_results: Any
    _set_results: Any

    def _execute_gen(
        self, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None
    ) -> Steps:
        if self._conn._autocommit or not self._begins(query, prepare, binary):
            steps: Steps = super()._execute_gen(  # type: ignore[misc]
                query, params, prepare=prepare, binary=binary
            )
            return steps
        return self._execute_with_begin(query, params)

    def _begins(self, query: Any, prepare: Any, binary: Any) -> bool:
        """Tell whether BEGIN is due and `query` may go with it.

        In pipeline mode one message holds one statement, so the ORM's alone are taken. A plain
        thread has Django's behaviour.
        """
        connection = self._conn
        return bool(
            connection.pgconn.transaction_status == _IDLE
            and type(query) is str
            and query.startswith(('SELECT "', "SELECT 1 ", "INSERT ", "UPDATE ", "DELETE "))
            and ";" not in query
            and not prepare
            and not (binary or self.format)
            and connection._prepared.prepare_threshold is None
            and connection._pipeline is None
            and connection.owner is not None
            and connection.owner.scope is not None
            and _HAS_PIPELINE
        )

    def _execute_with_begin(self, query: Any, params: Any) -> Steps:
        """`Cursor._execute_gen`, with BEGIN in the same message to the server."""
        connection, pgconn = self._conn, self._conn.pgconn
        connection._start_query = _nothing
        try:
            yield from self._start_query(query)
        finally:
            del connection._start_query
        statement = self._convert_query(query, params)
        pgconn.enter_pipeline_mode()
        pgconn.send_query_params(connection._get_tx_start_command(), None)
        self._execute_send(statement, force_extended=True)
        pgconn.pipeline_sync()
        begun = yield from generators.execute(pgconn)
        results = yield from generators.fetch_many(pgconn)
        yield from generators.fetch_many(pgconn)  # the Sync
        pgconn.exit_pipeline_mode()
        if begun[0].status != _COMMAND_OK:
            raise errors.error_from_result(begun[0], encoding=self._encoding)
        self._check_results(results)
        self._set_results(results)
        self._last_query = query


def _nothing() -> Steps:
    """Stands for psycopg's own BEGIN."""
    yield from ()
