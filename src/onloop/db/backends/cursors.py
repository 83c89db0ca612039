"""Cursors that tell their wrapper when they are closed, so that connections come back.

Closing must work everywhere, in a finaliser of the garbage collector too: where waiting is
not possible, a cursor is abandoned instead. Nothing here ever waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onloop.db.backends.base import ScopedWrapper


class WatchedCursor:
    """Mixin for a driver's cursor class. `owner`: the wrapper to tell; None once it is told."""

    owner: ScopedWrapper | None = None
    # The connection that the wrapper had when it made this cursor.
    borrowed: Any = None

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().execute(*args, **kwargs)  # type: ignore[misc]
        except Exception:
            raise
        except BaseException:
            # Django's compiler closes the cursor of a statement that failed, but not that of
            # one that was cancelled; a traceback may then keep it for long.
            self.release(left_behind=not self.abandon())
            raise

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            self.release(left_behind=False)

    def abandon(self) -> bool:
        """Close without waiting; False if the server still has something of this cursor."""
        super().close()  # type: ignore[misc]
        return True

    def release(self, *, left_behind: bool) -> None:
        """Tell the wrapper. `left_behind`: the server still has something of this cursor."""
        owner, self.owner = self.owner, None
        if owner is not None:
            borrowed, self.borrowed = self.borrowed, None
            owner.cursor_closed(self, borrowed, left_behind=left_behind)

    def __del__(self) -> None:
        self.release(left_behind=False)
        parent = getattr(super(), "__del__", None)
        if parent is not None:
            parent()
