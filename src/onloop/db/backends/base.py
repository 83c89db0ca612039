"""What Onloop's database wrappers have in common: borrowing and giving back.

A wrapper that belongs to a scope borrows its connection from the loop's pool when something
needs it and gives it back when nothing does any more (PgBouncer's transaction mode, the
default), or at the end of the scope (session mode). A wrapper of a plain thread behaves as
Django's own. This is the one place that takes connections from a pool and returns them.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import OperationalError

from onloop import conf, guard
from onloop.db.backends.cursors import CursorKeeper, WatchedCursor
from onloop.db.backends.options import pool_mode
from onloop.db.backends.pooled import PooledWrapper
from onloop.db.backends.sessionstate import SessionWatch
from onloop.db.backends.shared import SharedTransaction
from onloop.db.errors import DatabaseUnavailable
from onloop.db.pool import Pool
from onloop.db.scope import Scope
from onloop.db.turn import Turn

logger = logging.getLogger("onloop.db")

if TYPE_CHECKING:

    class _Base(BaseDatabaseWrapper):
        """What the stubs leave out of Django's class."""

        Database: Any

        def _cursor(self, name: str | None = None) -> Any: ...
        def _close(self) -> None: ...
        def _set_autocommit(self, autocommit: bool) -> None: ...
        def is_in_memory_db(self) -> bool: ...

else:
    _Base = BaseDatabaseWrapper


# Test frameworks put another in its place; the app's system checks import this module before.
_ensure_connection = BaseDatabaseWrapper.ensure_connection


class ScopedWrapper(CursorKeeper, SessionWatch, SharedTransaction, PooledWrapper, _Base):
    """Mixin for a `DatabaseWrapper`; put it in front of Django's class, or of your own."""

    # It gets a connection beyond `max_size` rather than wait in the pool's queue.
    urgent = False
    # Django's `ensure_connection` is being asked, or what a test framework put in its place.
    _asking = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It was listed if its module is there, whatever a test makes of INSTALLED_APPS.
        if apps.apps_ready and "onloop.apps" not in sys.modules:
            raise ImproperlyConfigured(
                f'The engine of DATABASES[{self.alias!r}] needs "onloop" in '
                "INSTALLED_APPS; put it first."
            )
        self._turn = Turn(self.alias)
        # The scope keeps the connection until it ends.
        self._session_mode = False
        # The pool that `connection` was borrowed from.
        self._borrowed_from: Pool[Any] | None = None
        # Reasons to keep the connection: open cursors, and calls that are under way.
        self._cursors: dict[int, weakref.ref[WatchedCursor]] = {}
        self._calls = 0
        # Somebody asked for the connection itself, by connect() or ensure_connection().
        self._pinned = False

    # --- What a driver adds -----------------------------------------------------------------

    def attach_driver(self, connection: Any) -> None:
        """Bind an open driver connection to this wrapper: its turn, above all."""
        raise NotImplementedError

    @property
    def must_not_wait(self) -> bool:
        """Whether those that have the pool's connections may be waiting for this wrapper."""
        return False

    def in_transaction(self) -> bool:
        """Tell whether the driver connection has a transaction open."""
        raise NotImplementedError

    # --- Scope ------------------------------------------------------------------------------

    @property
    def turn(self) -> Turn:
        return self._turn

    def enter_scope(self, scope: Scope) -> None:
        """Called once by the store, for a wrapper that it made for a scope."""
        self.scope = scope
        self._thread_ident = scope.thread
        self._turn.timeout_s = conf.get().TURN_TIMEOUT
        self._session_mode = pool_mode(self.settings_dict) == "session"
        self.autocommit = self.settings_dict["AUTOCOMMIT"]

    def end_of_scope(self) -> None:
        """Give the connection back whatever its state; never waits."""
        if self.connection is not None:
            if self.in_atomic_block or self.in_transaction():
                logger.warning(
                    "A transaction on %r was left open at the end of its scope; it is rolled "
                    "back.",
                    self.alias,
                )
            self._return_connection()
        self.turn.end_all(self)

    # --- Borrowing --------------------------------------------------------------------------

    def connect(self) -> None:
        if self.scope is None:
            super().connect()
            self._attach_open()
            return
        pool = self.loop_pool
        if pool is None:
            self._open()
            return
        connection = pool.get(self._open, urgent=self.urgent or self.must_not_wait)
        self._borrowed_from = pool
        if self.connection is not connection:
            self._reuse(connection)
        if self._calls == 0:
            self._pinned = True

    def _open(self) -> Any:
        """Open a connection as Django does, with all that receivers and subclasses add."""
        self._calls += 1
        self._opening = True
        try:
            super().connect()
            self._attach_open()
            return self.connection
        except BaseException as exc:
            connection, self.connection = self.connection, None
            if connection is not None and self.can_pool():
                connection.close()
            if isinstance(exc, self.Database.OperationalError | OperationalError) and not (
                isinstance(exc, DatabaseUnavailable)
            ):
                raise DatabaseUnavailable(
                    f"No connection to the database {self.alias!r}: {exc}"
                ) from exc
            raise
        finally:
            self._opening = False
            self._calls -= 1

    def _attach_open(self) -> None:
        if self.connection is not None:
            self.attach_driver(self.connection)

    def _reuse(self, connection: Any) -> None:
        """Take over an idle connection: `connect()`, less what has been done for it before."""
        self.connection = connection
        self._forget_state()
        self.attach_driver(connection)

    def _forget_state(self) -> None:
        """Be as `connect()` leaves a wrapper."""
        self.autocommit = self.settings_dict["AUTOCOMMIT"]
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self._needs_rollback = False
        self.closed_in_transaction = False
        self.errors_occurred = False
        self.health_check_enabled = False
        self.run_on_commit = []
        self.close_at = None

    def ensure_connection(self) -> None:
        if BaseDatabaseWrapper.ensure_connection is not _ensure_connection:
            self._ensure_as_patched()
        elif self.connection is None:
            if self._calls and self.scope is not None and not self.in_atomic_block:
                with self.wrap_database_errors:
                    self.connect()  # for `cursor()`, which has asked Django's guard
            else:
                super().ensure_connection()
        # Else there is nothing to wait for, and Django's guard need not refuse: `TestCase` has
        # a connection open, and `assertNumQueries` asks for it in async tests.
        if self.scope is not None and self._calls == 0:
            self._pinned = True

    def _ensure_as_patched(self) -> None:
        """Ask what `TestCase` or pytest-django has put into Django's class."""
        if self._asking:  # which calls this method again
            return _ensure_connection(self)
        self._asking = True
        try:
            super().ensure_connection()
        except SynchronousOnlyOperation:
            if self.connection is None:
                raise
        finally:
            self._asking = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let a stretch of code ask for the connection without pinning it."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._give_back()

    def get_autocommit(self) -> bool:
        if self.scope is None:
            return super().get_autocommit()
        # Asking borrows nothing: so it is, or so it would be.
        if self.connection is None:
            return bool(self.settings_dict["AUTOCOMMIT"])
        return self.autocommit

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        if (
            self.connection is None
            and self.scope is not None
            and autocommit is self.settings_dict["AUTOCOMMIT"]
            and not self.run_commit_hooks_on_set_autocommit_on
        ):
            # So the next connection will be. Django asks for it at the end of a block whose
            # connection was lost, where opening another one may take long, or fail.
            self.autocommit = autocommit
            return
        guard.refuse_implicit()  # for a connection it may wait, without asking Django's guard
        self._calls += 1
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        finally:
            self._calls -= 1
            self._give_back()

    def _cursor(self, name: str | None = None) -> Any:
        self._calls += 1
        try:
            return super()._cursor(name)
        finally:
            self._calls -= 1
            if not self._cursors:
                self._give_back()

    def close_if_unusable_or_obsolete(self) -> None:
        """Django calls it before and after requests; a scope's connections end with it."""
        if self.scope is None:
            super().close_if_unusable_or_obsolete()

    def statement_unanswered(self) -> None:
        """The server did not answer in time: what else the pool has may be as dead."""
        if self._borrowed_from is not None:
            self._borrowed_from.suspect()

    # --- Giving back ------------------------------------------------------------------------

    def _give_back(self) -> Exception | None:
        """Return the connection to the pool if nothing needs it any more.

        Returns an error if it is closed instead, and with it what a statement was meant for.
        """
        if (
            self._borrowed_from is None
            or (self._cursors and self.has_cursors())
            or self.connection is None
            # As `is_kept`, less a call: every cursor comes by here.
            or self._calls
            or self._pinned
            or self.in_atomic_block
            or self.autocommit is not self.settings_dict["AUTOCOMMIT"]
            or self._session_mode
        ):
            return None
        if self._leftovers is not None:
            return self._close_session(self._leftovers)
        connection, self.connection = self.connection, None
        self._hand_back(connection)
        return None

    @property
    def is_kept(self) -> bool:
        return bool(
            self._calls
            or self._pinned
            or self.in_atomic_block
            or self.autocommit is not self.settings_dict["AUTOCOMMIT"]
            or self._session_mode
        )

    def _return_connection(self) -> None:
        connection, self.connection = self.connection, None
        self._hand_back(connection)

    def _hand_back(self, connection: Any) -> None:
        """Close what is open on a connection and give it to the pool that it came from."""
        pool, self._borrowed_from = self._borrowed_from, None
        cursors, self._cursors = self._cursors, {}
        unclean, self._unclean = self._unclean, False
        leftovers, self._leftovers = self._leftovers, None
        self._pinned = False
        # With autocommit switched off, the next one's writes would never be committed.
        as_set = self.autocommit is self.settings_dict["AUTOCOMMIT"]
        broken = self.in_atomic_block or not as_set
        for reference in cursors.values():
            cursor = reference()
            if cursor is not None:
                cursor.owner = None
                try:
                    unclean |= not cursor.abandon()
                except self.Database.Error:
                    broken = True  # a thread is still at work with it
        if pool is None:
            return
        if leftovers is not None:
            leftovers.report(self.alias)
            broken = True
        if broken:
            pool.discard(connection)
        elif unclean or pool.options.reset is not None:
            pool.reap(connection)
        else:
            pool.put(connection)

    def drop_connection(self) -> None:
        """Throw the connection away, and its open transaction, whatever goes on there."""
        connection, self.connection = self.connection, None
        pooled = self._borrowed_from is not None
        self._hand_back(connection)  # which discards, as a block is open
        if not pooled and connection is not None and self.can_pool():
            connection.close()
        self._forget_state()
        # Whoever still has the turn will release the old one.
        self._turn = Turn(self.alias, self._turn.timeout_s)

    def _close(self) -> None:
        if self._borrowed_from is None:
            super()._close()
        else:
            self._hand_back(self.connection)
