"""Cursors that tell their wrapper when they are closed, so that connections come back.

Closing must work everywhere, in a finaliser of the garbage collector too: where waiting is
not possible, a cursor is abandoned instead. Nothing here ever waits. The wrapper is told of
each statement first, since some leave something in the session (`sessionstate`).
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onloop.db.backends.base import ScopedWrapper

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
        except Exception:
            raise
        except BaseException:
            self._interrupted()
            raise

    def executemany(self, query: Any, param_list: Any, **kwargs: Any) -> Any:
        self._about_to(query, None)
        try:
            return super().executemany(query, param_list, **kwargs)  # type: ignore[misc]
        except Exception:
            raise
        except BaseException:
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

    def __del__(self) -> None:
        if self.owner is not None:
            self.release(left_behind=False)
        parent = getattr(super(), "__del__", None)
        if parent is not None:
            parent()
