"""Cursors that tell their wrapper when they are closed, so that connections come back.

Closing must work everywhere, in a finaliser of the garbage collector too: where waiting is
not possible, a cursor is abandoned instead. Nothing here ever waits. The wrapper is told of
each statement first, since some leave something in the session (`sessionstate`).
"""

from __future__ import annotations

import contextvars
import functools
import logging
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onloop.bridge import interrupts
from onloop.db.scope import Scope

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorDebugWrapper

    from onloop.db.backends.base import ScopedWrapper

    _Base = BaseDatabaseWrapper
else:
    _Base = object

logger = logging.getLogger("onloop.db")


class WatchedCursor:
    """Mixin for a driver's cursor class. `owner`: the wrapper to tell; None once it is told."""

    owner: ScopedWrapper | None = None
    # The connection that the wrapper had when it made this cursor.
    borrowed: Any = None

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        owner = self.owner or self.borrower()  # as `_about_to`, less a call
        if owner is not None:
            owner.before_statement(query, params)
        try:
            return super().execute(query, params, **kwargs)  # type: ignore[misc]
        except BaseException as exc:
            if interrupts(exc):
                self._interrupted()
            raise

    def executemany(self, query: Any, param_list: Any, **kwargs: Any) -> Any:
        self._about_to(query, None)
        try:
            return super().executemany(query, param_list, **kwargs)  # type: ignore[misc]
        except BaseException as exc:
            if interrupts(exc):
                self._interrupted()
            raise

    def _about_to(self, query: Any, params: Any) -> None:
        owner = self.owner or self.borrower()
        if owner is not None:
            owner.before_statement(query, params)

    def borrower(self) -> ScopedWrapper | None:
        """The wrapper behind a cursor that was made on the driver's own connection."""
        return None

    def _interrupted(self) -> None:
        # Django's compiler closes the cursor of a statement that failed, but not that of one
        # that was cancelled; a traceback may then keep it for long.
        self.release(left_behind=not self.abandon())

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            lost = self._release(left_behind=False)
            if lost is not None and sys.exception() is not None:
                logger.warning("%s", lost)
                lost = None
        if lost is not None:
            raise lost

    def abandon(self) -> bool:
        """Close without waiting; False if the server still has something of this cursor."""
        super().close()  # type: ignore[misc]
        return True

    def release(self, *, left_behind: bool) -> None:
        """Tell the wrapper. `left_behind`: the server still has something of this cursor."""
        lost = self._release(left_behind=left_behind)
        if lost is not None:
            logger.warning("%s", lost)

    def _release(self, *, left_behind: bool) -> Exception | None:
        owner, self.owner = self.owner, None
        if owner is None:
            return None
        borrowed, self.borrowed = self.borrowed, None
        return owner.cursor_closed(self, borrowed, left_behind=left_behind)

    def collected(self, *, left_behind: bool) -> None:
        """As `release`, from a finaliser: in any thread, in the middle of any line."""
        owner = self.owner
        if owner is None or owner.scope is None or owner.scope.is_used_here():
            self.release(left_behind=left_behind)
        else:
            self.owner = None
            owner.cursor_collected(self, self.borrowed, left_behind=left_behind)

    def __del__(self) -> None:
        if self.owner is not None:
            self.collected(left_behind=False)
        parent = getattr(super(), "__del__", None)
        if parent is not None:
            parent()


class CursorKeeper(_Base):
    """The part of a wrapper that knows its open cursors; `ScopedWrapper` is the rest of it."""

    scope: Scope | None
    connection: Any
    _give_back: Callable[[], Exception | None]
    _cursors: dict[int, weakref.ref[WatchedCursor]]
    # Something of a cursor is left at the server: nobody else can use the connection.
    _unclean = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Entries of `_cursors` that a finaliser in another thread has done with.
        self._collected: deque[tuple[int, weakref.ref[WatchedCursor] | None]] = deque()

    def watch_cursor(self, cursor: WatchedCursor) -> None:
        """Keep the connection until `cursor` is closed or collected."""
        if self.scope is not None:
            cursor.owner = self  # type: ignore[assignment]
            cursor.borrowed = self.connection
            self._cursors[id(cursor)] = weakref.ref(cursor)

    def cursor_closed(
        self, cursor: WatchedCursor, connection: Any, *, left_behind: bool
    ) -> Exception | None:
        if connection is self.connection and self._cursors.pop(id(cursor), None) is not None:
            # Within a block what is left goes with the end of the transaction.
            self._unclean |= left_behind and not self.in_atomic_block
            return self._give_back()
        return None

    def cursor_collected(
        self, cursor: WatchedCursor, connection: Any, *, left_behind: bool
    ) -> None:
        """A finaliser has run in a thread that does not use this wrapper; never waits.

        The thread that does may be about to use the connection: it must not be taken away.
        """
        if connection is not self.connection:
            return
        if left_behind and not self.in_atomic_block:
            self._unclean = True
        self._collected.append((id(cursor), self._cursors.get(id(cursor))))
        assert self.scope is not None
        try:
            # In a context of its own: the collector runs in anybody's.
            self.scope.loop.call_soon_threadsafe(
                self._give_back_collected, context=contextvars.Context()
            )
        except RuntimeError:
            self._give_back_collected()  # the loop is closed: nobody uses the wrapper

    def _give_back_collected(self) -> None:
        # One that is lent sees to it with its next statement, and at its end.
        if self.scope is not None and not self.scope.is_lent:
            lost = self._give_back()
            if lost is not None:
                logger.warning("%s", lost)

    def has_cursors(self) -> bool:
        """Tell whether a cursor is open, less those that other threads have collected."""
        while self._collected:
            key, entry = self._collected.popleft()
            if entry is not None and self._cursors.get(key) is entry:
                del self._cursors[key]
        return bool(self._cursors)

    def make_debug_cursor(self, cursor: Any) -> CursorDebugWrapper:
        ops: Any = self.ops
        if "last_executed_query" not in vars(ops):
            ops.last_executed_query = functools.partial(_statement, ops.last_executed_query)
        return super().make_debug_cursor(cursor)


def _statement(ask: Callable[..., Any], cursor: Any, sql: Any, params: Any) -> Any:
    """What the query log shows of a statement: with its values, which the driver is asked for.

    After a cancellation its connection is back in the pool, or lost. An error here would hide
    the cancellation, and a wait would hold it up.
    """
    interrupted = sys.exception()
    if interrupted is None or not interrupts(interrupted):
        return ask(cursor, sql, params)
    return sql
