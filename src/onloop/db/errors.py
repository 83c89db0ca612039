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


class TurnTimeout(OnloopError, OperationalError):
    """A transaction's connection stayed in use by another task for too long."""


class SessionStateLost(OnloopError, InterfaceError):
    """A statement changed its session, and its connection went back before it was of use.

    An `InterfaceError`, not a `DatabaseError`: engines that set something for each cursor
    ignore those, and would go on without it.
    """
