"""What statements leave in a session of PostgreSQL.

As PgBouncer's documentation lists it for transaction pooling: SET, LISTEN, WITH HOLD cursors,
PREPARE, session-level advisory locks, temporary tables. What ends with the transaction (SET
LOCAL, `pg_advisory_xact_lock`, ON COMMIT DROP) leaves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg import sql

from onloop.db.backends.sessionstate import EVERYTHING, Change, look_at

# Where functions are called rather than defined.
_CALLS = re.compile(r"(?!CREATE\b|ALTER\b|COMMENT\b)", re.IGNORECASE)
_LOCKS = re.compile(r"\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(", re.IGNORECASE)
_SET_CONFIG = re.compile(r"\bset_config\s*\(", re.IGNORECASE)
_TOKENS = re.compile(rf"{_SET_CONFIG.pattern}|[(),]", re.IGNORECASE)
_INTO_TEMP = re.compile(
    r"(?<!INSERT\s)(?<!MERGE\s)\bINTO\s+"
    r"(?:(?:(?:LOCAL|GLOBAL)\s+)?TEMP(?:ORARY)?\b|(?:TABLE\s+)?pg_temp\s*\.)",
    re.IGNORECASE,
)
_DROPPED_AT_COMMIT = re.compile(r"\bON\s+COMMIT\s+DROP\b", re.IGNORECASE)

_LEAVES = re.compile(
    r"""
      (?P<setting> SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b) | LOAD\s )
    | (?P<listener> LISTEN\s )
    | (?P<temporary>
        CREATE\s+(?:OR\s+REPLACE\s+)?(?:
            (?:(?:LOCAL|GLOBAL)\s+)?TEMP(?:ORARY)?\s
          | (?:TABLE|VIEW|SEQUENCE)\s+(?:IF\s+NOT\s+EXISTS\s+)?pg_temp\s*\.
        )
      )
    | (?P<prepared> PREPARE\s+(?!TRANSACTION\b) )
    | (?P<cursor> DECLARE\s.*?\sWITH\s+HOLD\s )
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_KINDS = {"temporary": "temporary table", "prepared": "prepared statement"}

# Spares what else the ORM sends a look by regular expressions.
_HARMLESS = ("select", "with", "savepoint", "release", "rollback")
_HARMFUL = ("advisory", "set_config", "temp", ";")

_ENDS: list[tuple[re.Pattern[str], Change]] = [
    (re.compile(pattern, re.IGNORECASE), change)
    for pattern, change in (
        (r"DISCARD\s+ALL\b", Change(gone=EVERYTHING, resets=True)),
        (r"RESET\s+ALL\b", Change(gone=frozenset({"setting"}), resets=True)),
        (r"RESET\s", Change(resets=True)),
        (r"DISCARD\s+TEMP", Change(gone=frozenset({"temporary table"}))),
        (r"UNLISTEN\s+\*", Change(gone=frozenset({"listener"}))),
        (r"DEALLOCATE\s+ALL\b", Change(gone=frozenset({"prepared statement"}))),
        (r"CLOSE\s+ALL\b", Change(gone=frozenset({"cursor"}))),
        (r"SELECT\s+pg_advisory_unlock_all\b", Change(gone=frozenset({"advisory lock"}))),
    )
]


def session_change(query: Any, params: Any) -> Change | None:
    """Tell what `query` leaves in its session; None for nothing, as nearly always.

    Not seen: `set_config()` and INTO TEMP in what begins as a statement of the ORM, and what
    functions of the database do inside.
    """
    if type(query) is str:
        # What the ORM sends, by 200 to 250 ns; `in` costs half a nanosecond a character.
        if (
            query.startswith(('SELECT "', "INSERT ", "UPDATE ", "DELETE "))
            and "_advisory_lock" not in query
            and ";" not in query
        ):
            return None
        text = query
    else:
        text = text_of(query)
    low = text.lower()
    if low.startswith(_HARMLESS) and not any(word in low for word in _HARMFUL):
        return None
    return look_at(text, params, _look)


def text_of(query: Any) -> str:
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    if isinstance(query, sql.Composable):
        return query.as_string(None)
    if hasattr(query, "strings"):  # a template string
        return "''".join(query.strings)
    return str(query)


def _look(statement: str, text: str, params: Any) -> Change | None:
    if found := _LEAVES.match(statement):
        kind = found.lastgroup or ""
        if kind == "temporary" and _DROPPED_AT_COMMIT.search(statement):
            return None
        return Change(left=frozenset({_KINDS.get(kind, kind)}))
    for pattern, change in _ENDS:
        if pattern.match(statement):
            return change
    if not _CALLS.match(statement):
        return None
    # The body of a DO block is a literal.
    called = text if statement[:3].upper() == "DO " else statement
    left = set()
    if _LOCKS.search(called):
        left.add("advisory lock")
    if _SET_CONFIG.search(called) and _sets_for_session(called, params):
        left.add("setting")
    if _INTO_TEMP.search(statement):
        left.add("temporary table")
    return Change(left=frozenset(left)) if left else None


def _sets_for_session(text: str, params: Any) -> bool:
    """Tell whether a call of `set_config()` has another last argument than true, or no end."""
    open_: list[tuple[bool, int]] = []  # brackets: of such a call; where its last argument is
    for token in _TOKENS.finditer(text):
        if token[0].endswith("("):
            open_.append((token[0] != "(", token.end()))
        elif open_:
            ours, begin = open_.pop()
            if token[0] == ",":
                open_.append((ours, token.end()))
            elif ours and not _is_local(text[begin : token.start()], params):
                return True
    return any(ours for ours, _ in open_)


def _is_local(argument: str, params: Any) -> bool:
    argument = argument.strip()
    if not argument.startswith("%"):
        return argument.lower() == "true"
    values = params.values() if isinstance(params, dict) else params
    given = list(values) if isinstance(values, Iterable) else []
    return any(value is True for value in given) and not any(value is False for value in given)
