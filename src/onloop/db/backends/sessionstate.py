"""What statements leave in a session: settings, listeners, session locks, temporary tables.

A connection in which something was left is nobody else's: it is closed in place of going back
to its pool. The engines say what their statements leave (`session_change` of the wrapper);
here is what becomes of it. Looking at a statement is on the path of every query: it must cost
next to nothing where there is nothing to see. See `docs/decisions/0008-session-state.md`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

from django.core.exceptions import SynchronousOnlyOperation
from django.db.utils import DatabaseError

from onloop.db.errors import SessionStateLost

logger = logging.getLogger("onloop.db")

_LOGGED_TEXTS = 1000
_SHOWN_CHARACTERS = 200
_logged: set[str] = set()

# Literals, names, comments and bodies of functions: nothing in them is a statement of this
# session. One that does not end goes on to the end, as for the server; to look for the end of
# each anew would take a time that grows with the square of the text.
_NOISE = re.compile(
    r"""
      "(?P<name>\w+)"
    | "(?:[^"]|"")*(?:"|\Z)
    | (?<![\w$])[eE]'(?:[^'\\]|''|\\(?:.|\Z))*(?:'|\Z)
    | '(?:[^']|'')*(?:'|\Z)
    | --[^\n]*
    | /\*.*?(?:\*/|\Z)
    | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
    """,
    re.DOTALL | re.VERBOSE,
)

# What may be left behind, and what to do in place of it.
CURES = {
    "setting": "use SET LOCAL in an atomic block, on SQLite OPTIONS['init_command']",
    "advisory lock": "use pg_advisory_xact_lock() in an atomic block",
    "listener": 'listen in a scope with OPTIONS["pool"]["mode"] = "session"',
    "temporary table": "create it in an atomic block, in PostgreSQL with ON COMMIT DROP",
    "prepared statement": "let psycopg prepare it (`prepare_threshold`)",
    "cursor": "use QuerySet.iterator()",
    "foreign keys": "use `connection.constraint_checks_disabled()`",
    "attached database": "name it in DATABASES",
}
EVERYTHING = frozenset(CURES)


class Change(NamedTuple):
    """What one text of SQL does to its session.

    `left`: kinds of things that are there afterwards. `gone`: kinds that are there no more.
    `used`: a statement of the same text came after the one that left something. `resets`: what
    was set up when the connection was opened may be gone.
    """

    left: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    used: bool = False
    resets: bool = False


Look = Callable[[str, str, Any], Change | None]


def look_at(sql: str, params: Any, look: Look) -> Change | None:
    """Ask `look(statement, whole text, params)` about each statement in `sql`; sum it up."""
    left: set[str] = set()
    gone: set[str] = set()
    used = resets = seen = False
    for statement in _statements(sql):
        change = look(statement, sql, params)
        if change is None:
            used = bool(left)
            continue
        seen = True
        left = (left - change.gone) | change.left
        gone |= change.gone
        used &= bool(left) and not change.left
        resets |= change.resets
    return Change(frozenset(left), frozenset(gone), used, resets) if seen else None


def _statements(sql: str) -> Iterator[str]:
    for part in _NOISE.sub(_quiet, sql).split(";"):
        # Without what stood in front of it: comments are `''` now.
        if statement := part.strip().lstrip("' (\t\r\n"):
            yield statement


def _quiet(noise: re.Match[str]) -> str:
    # `"pg_temp"."x"`, and `callproc()` with its `"pg_advisory_lock"(1)`, are as without quotes.
    return noise["name"] or "''"


class Leftovers:
    """What a borrowed connection carries that the next borrower must not find."""

    __slots__ = ("_configured", "_kept", "_kinds", "_text", "raised", "used")

    def __init__(self, connection: Any) -> None:
        # Something was set when the connection was opened, by Django or by a receiver.
        self._configured: bool = connection.configured
        self._kinds: frozenset[str] = frozenset()
        self._text = ""
        # More than the cursor of the statement keeps the connection.
        self._kept = False
        # Another statement has run since.
        self.used = False
        # An error says it, so that the log need not.
        self.raised = False

    def after(self, change: Change, query: Any, *, kept: bool) -> Leftovers | None:
        """Return what is left after one more statement; None if that is nothing."""
        left = change.left
        if change.resets and self._configured:
            left |= {"setting"}  # what was set up is gone, and nobody would set it again
        self._kinds = (self._kinds - change.gone) | left
        if left:
            self._text = query if isinstance(query, str) else repr(query)
            self._kept = kept
            self.used = change.used
        return self if self._kinds else None

    def error(self, alias: str) -> SessionStateLost | None:
        """Return an error if nothing can have made use of it before the connection closed."""
        if self._kept or self.used:
            return None
        return SessionStateLost(
            f"{self._shown!r} on {alias!r} left something in its session ({self._what}) that "
            "is lost: outside of a transaction the next statement may run on another "
            "connection. "
            "Run both in an atomic block or in one cursor, keep the connection from "
            "`connection.ensure_connection()` to `connection.close()`, or set "
            f'OPTIONS["pool"]["mode"] = "session". ({self._cures})'
        )

    def report(self, alias: str) -> None:
        """Log, once for each text, that the connection is closed because of it."""
        if self.raised or self._text in _logged:
            return
        if len(_logged) < _LOGGED_TEXTS:
            _logged.add(self._text)
        logger.warning(
            "%r left something in its session (%s): its connection to %r is closed and "
            "replaced, so that nobody else finds it. To save that: %s.",
            self._shown,
            self._what,
            alias,
            self._cures,
        )

    @property
    def _shown(self) -> str:
        text = " ".join(self._text.split())
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"

    @property
    def _what(self) -> str:
        return ", ".join(sorted(self._kinds))

    @property
    def _cures(self) -> str:
        return "; ".join(f"{kind}: {CURES[kind]}" for kind in sorted(self._kinds))


@lru_cache(maxsize=64)
def _has_cursors_of_its_own(engine: Any) -> bool:
    """Whether an engine may set something for each cursor that it makes.

    Django makes one while a connection is opened, to ask for the server's version. What is set
    for that (a tenant's schema) must not be taken for something that belongs to the connection.
    """
    ours_and_djangos = ("onloop.db.backends.", "django.db.backends.", "django.contrib.gis.")
    return any(
        {"_cursor", "cursor", "create_cursor", "chunked_cursor"} & vars(base).keys()
        for base in engine.__mro__
        if not base.__module__.startswith(ours_and_djangos)
    )


class SessionWatch:
    """The part of a wrapper that looks at statements; `ScopedWrapper` is the rest of it."""

    alias: str
    connection: Any
    run_on_commit: list[Any]
    close: Callable[[], None]
    _return_connection: Callable[[], None]
    _borrowed_from: Any
    _leftovers: Leftovers | None = None
    # Django, the engine and receivers of `connection_created` set a new connection up.
    _opening = False

    def session_change(self, query: Any, params: Any) -> Change | None:
        """Tell what a statement leaves in its session. Called before each one: be quick.

        An engine that sets something itself whenever it takes a connection leaves that out.
        """
        return None

    def before_statement(self, query: Any, params: Any) -> None:
        """A cursor is about to send `query`."""
        change = self.session_change(query, params)
        if change is None:
            if self._leftovers is not None:
                self._leftovers.used = True  # as `use_session`, which would cost a call
        elif self._opening and not _has_cursors_of_its_own(cast(Any, type(self))):
            if self.connection is not None:
                self.connection.configured = True
        elif self._opening or self._borrowed_from is not None:
            before = self._leftovers or Leftovers(self.connection)
            self._leftovers = before.after(change, query, kept=self.is_kept)

    def use_session(self) -> None:
        """Something other than a statement makes use of what was left in the session."""
        if self._leftovers is not None:
            self._leftovers.used = True

    @property
    def is_kept(self) -> bool:
        """Whether more than open cursors keeps the connection from going back."""
        raise NotImplementedError

    def _close_session(self, leftovers: Leftovers) -> SessionStateLost | None:
        """Close by `close()`: engines that remember what they have set forget it there."""
        error = leftovers.error(self.alias)
        leftovers.raised = error is not None
        hooks = self.run_on_commit  # of a block that is being left; `close` drops them
        try:
            self.close()
        except (SynchronousOnlyOperation, DatabaseError):
            self._return_connection()  # in a finaliser: outside of any bridge, any thread
        finally:
            self.run_on_commit = hooks
        return error
