"""Exceptions of the database layer; each is one of Django's, so that existing handlers work."""

from __future__ import annotations

from django.db.utils import InterfaceError, OperationalError

from onloop.errors import OnloopError


class DatabaseUnavailable(OnloopError, OperationalError):
    """No connection could be opened. The request handler answers 503."""


class PoolTimeout(DatabaseUnavailable):
    """The pool had no free connection within its `timeout`."""


class TooManyWaiters(PoolTimeout):
    """As many callers as `max_waiting` allows were waiting for a connection already."""


class ConnectionLost(OnloopError, OperationalError):
    """The connection broke, or its server went away, while a statement was under way.

    What had not been committed is rolled back. If it was a COMMIT, or a single statement in
    autocommit mode, nobody knows what came of it: so this is no `DatabaseUnavailable`, after
    which nothing has been done and all can be tried again. The request handler answers 503.
    """


class TurnTimeout(OnloopError, OperationalError):
    """A transaction's connection stayed in use by another task for too long."""


class SessionStateLost(OnloopError, InterfaceError):
    """A statement changed its session, and its connection went back before it was of use.

    An `InterfaceError`, not a `DatabaseError`: engines that set something for each cursor
    ignore those, and would go on without it.
    """
