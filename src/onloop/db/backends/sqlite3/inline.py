"""Which statements may hold the loop, and for how long.

A plain SELECT can be stopped and run again: it has changed nothing. Everything else runs to
its end wherever it began. Texts that proved slow are remembered, so that they begin in a
worker thread the next time.
"""

from __future__ import annotations

import enum
import math
import re
import threading
import time


class Kind(enum.Enum):
    """What a statement surely is, judged by its text.

    READ: a query that cannot write. WRITE: a query that may. OTHER: BEGIN, PRAGMA, EXPLAIN,
    DDL and whatever else; quick, or nothing that a request does.
    """

    READ = 1
    WRITE = 2
    OTHER = 3


_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:insert|update|delete|replace)\b", re.IGNORECASE)
_KINDS = {
    "SELECT": Kind.READ,
    "VALUES": Kind.READ,
    "INSERT": Kind.WRITE,
    "UPDATE": Kind.WRITE,
    "DELETE": Kind.WRITE,
    "REPLACE": Kind.WRITE,
}


def kind_of(query: object) -> Kind:
    """Classify a statement by its text.

    SQLite has no SELECT that writes: RETURNING belongs to writing statements, the body of a
    WITH can only read, and sqlite3 refuses a second statement in one text. A WITH may begin a
    writing statement, so one that contains such a word anywhere, be it in a string, counts as
    one.
    """
    if not isinstance(query, str):
        return Kind.OTHER  # sqlite3 says what it thinks of it
    kind = _KINDS.get(query[:6])
    if kind is not None and query[6:7] == " ":
        return kind  # Django's own
    blank = _BLANK.match(query)
    word = _WORD.match(query, 0 if blank is None else blank.end())
    if word is None:
        return Kind.OTHER
    first = word.group().upper()
    if first == "WITH":
        return Kind.WRITE if _WRITES.search(query) else Kind.READ
    return _KINDS.get(first, Kind.OTHER)


class Budget:
    """A deadline, looked at by SQLite itself in the middle of a statement.

    It is the progress handler of one connection. What it stops ends with SQLITE_INTERRUPT, and
    nothing else does: `Connection.interrupt()` would stop every statement that the connection
    has open, and refuse new ones, a ROLLBACK too, until the last of them is closed.
    """

    __slots__ = ("deadline", "spent")

    def __init__(self) -> None:
        self.deadline = math.inf
        # The deadline has stopped a statement.
        self.spent = False

    def check(self) -> bool:
        if time.monotonic() < self.deadline:
            return False
        self.spent = True
        return True


class _Slow:
    """One text that proved slow."""

    __slots__ = ("needed", "quick")

    def __init__(self) -> None:
        # Quick runs in a row that were seen, and that bring it back inline.
        self.quick = 0
        self.needed = 1


class SlowTexts:
    """The texts of one database that run in a worker from the start; the last `limit` of them.

    A text finds its way back once it was quick there, at first after one run. Each time that
    it proves slow again it takes twice as many, up to `MOST_NEEDED`: a text that is quick for
    one parameter and slow for the next does not run twice every other time.
    """

    MOST_NEEDED = 64

    def __init__(self, limit: int = 500) -> None:
        self.limit = limit
        # Those that belong into a worker; looked at for each statement, so a plain set.
        self.now: set[str] = set()
        self._known: dict[str, _Slow] = {}
        self._guard = threading.Lock()

    def add(self, text: str) -> None:
        """Remember a text that took too long inline."""
        with self._guard:
            slow = self._known.pop(text, None)
            if slow is None:
                slow = _Slow()
            else:
                slow.needed = min(slow.needed * 2, self.MOST_NEEDED)
                slow.quick = 0
            self._known[text] = slow  # the youngest now
            self.now.add(text)
            if len(self._known) > self.limit:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self.now.discard(oldest)

    def ran(self, text: str, *, quick: bool) -> None:
        """Note how long a text took in a worker."""
        with self._guard:
            slow = self._known.get(text)
            if slow is None:
                return
            slow.quick = slow.quick + 1 if quick else 0
            if slow.quick >= slow.needed:
                self.now.discard(text)
