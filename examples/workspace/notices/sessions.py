"""A socket lives no longer than the session that it was opened in.

Whoever logs out in one tab is logged out in all of them, and a new password ends the sessions
of other browsers: pages are refused then, and what is open already has to be told.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

KIND = "session"
OVER = 4401


def mark_of(session: Any) -> str:
    """What tells a session from others, without giving its key away; empty if it has none."""
    key = getattr(session, "session_key", None)
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


class OfSession:
    """For consumers that hear what is announced to their user."""

    scope: Mapping[str, Any]
    mark: str | None = None

    def is_over(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Whether one of the events says that the session has ended.

        ``ended`` is the mark of the one that has; None: all have, but the one of the mark
        ``kept``, which has the mark ``now`` from now on. A bearer token has no session.
        """
        if self.mark is None:
            self.mark = mark_of(self.scope.get("session"))
        for event in events:
            if event["type"] != KIND or event["user"] != self.scope["user"].pk or not self.mark:
                continue
            if event["ended"] is not None:
                if event["ended"] == self.mark:
                    return True
            elif event["kept"] != self.mark:
                return True
            else:
                self.mark = event["now"]
        return False
