"""What statements leave in a connection of SQLite: pragmas, attached and temporary tables."""

from __future__ import annotations

import re
from typing import Any

from onloop.db.backends.sessionstate import Change, look_at

# What the ORM and transactions send; sqlite3 runs one statement at a time.
_USUAL = ("SELECT", "INSERT ", "UPDATE ", "DELETE ", "SAVEPOINT ", "RELEASE ", "BEGIN")

# Those that hold for the connection. Others are kept in the file (`user_version`), end with
# the transaction (`defer_foreign_keys`), or only look like assignments (`table_info(x)`).
_PRAGMAS = (
    "analysis_limit|automatic_index|busy_timeout|cache_size|cache_spill|case_sensitive_like|"
    "cell_size_check|checkpoint_fullfsync|foreign_keys|fullfsync|ignore_check_constraints|"
    "journal_size_limit|legacy_alter_table|locking_mode|max_page_count|mmap_size|query_only|"
    "read_uncommitted|recursive_triggers|reverse_unordered_selects|secure_delete|synchronous|"
    "temp_store|threads|trusted_schema|wal_autocheckpoint|writable_schema"
)
_SETS = re.compile(rf"PRAGMA\s+(?:\w+\s*\.\s*)?({_PRAGMAS})\s*[=(]\s*(\w*)", re.IGNORECASE)
_ON = frozenset({"on", "yes", "true", "1"})
_TEMPORARY = re.compile(r"CREATE\s+(?:TEMP(?:ORARY)?\s|(?:\w+\s+)+temp\s*\.)", re.IGNORECASE)
_ATTACH = re.compile(r"ATTACH\s", re.IGNORECASE)


def session_change(query: Any, params: Any) -> Change | None:
    """Tell what `query` leaves in its connection; None for nothing, as nearly always."""
    if query.startswith(_USUAL):
        return None
    return look_at(query, params, _look)


def _look(statement: str, text: str, params: Any) -> Change | None:
    if found := _SETS.match(statement):
        name, value = found[1].lower(), found[2].lower()
        if name == "foreign_keys":  # on is what Django sets when it connects
            kind = frozenset({"foreign keys"})
            return Change(gone=kind) if value in _ON else Change(left=kind)
        return Change(left=frozenset({"setting"}))
    if _TEMPORARY.match(statement):
        return Change(left=frozenset({"temporary table"}))
    if _ATTACH.match(statement):
        return Change(left=frozenset({"attached database"}))
    return None
