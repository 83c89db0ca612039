"""`LoopDatabase`: psycopg, with a `connect` that waits where its caller can wait."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import generators

from onloop import bridge
from onloop.db.backends.postgresql.connection import LoopConnection

# The attempts of the `connect` that is under way: one for each address.
_attempts: contextvars.ContextVar[list[Generator[Any, Any, Any]]] = contextvars.ContextVar(
    "onloop_attempts"
)


class _Opener(psycopg.AsyncConnection[Any]):
    """Opens a `LoopConnection` with psycopg's own asynchronous `connect`, look-ups included."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        attempt = _connect(conninfo)
        _attempts.get().append(attempt)
        return attempt


def _connect(conninfo: str) -> Generator[Any, Any, LoopConnection]:
    pgconn = yield from generators.connect(conninfo)
    return LoopConnection(pgconn)


async def _open(params: dict[str, Any]) -> Any:
    attempts: list[Generator[Any, Any, Any]] = []
    token = _attempts.set(attempts)
    try:
        return await _Opener.connect(**params)
    finally:
        _attempts.reset(token)
        for attempt in attempts:
            # Cancelled or timed out, it would keep its socket as long as somebody keeps the
            # traceback.
            attempt.close()


class LoopDatabase:
    """Stands for the module `psycopg` in the wrapper: the same names, another `connect`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)

    @staticmethod
    def connect(**params: Any) -> LoopConnection:
        if bridge.active():
            return bridge.await_(_open(params))  # type: ignore[no-any-return]
        return LoopConnection.connect(**params)
