"""Runs as the soak reads them, made up."""

from __future__ import annotations

from typing import Any

from reliability.summary import Run

MODULE = "tests/reliability/test_r2_x.py"
VERSIONS = {"Python": "3.13.0", "Django": "6.1.3", "SQLite": "3.40.1"}


def record(test: str, kinds: dict[str, int] | None = None, **counts: int) -> dict[str, Any]:
    """A record of `Findings.judge()`."""
    return {
        "what": "R2",
        "test": f"{MODULE}::{test} (call)",
        "counts": counts,
        "measured": {},
        "kinds": kinds or {},
        "took_s": 1.0,
    }


def a_run(
    outcomes: dict[str, str],
    records: list[dict[str, Any]] | None = None,
    *,
    database: str = "postgresql",
    loop: str = "asyncio",
    whole: bool = True,
    crash: str = "",
) -> Run:
    """A run in which the tests had these outcomes; `whole`: it came to its end."""
    tests = {f"{MODULE}::{name}": outcome for name, outcome in outcomes.items()}
    lines: list[dict[str, Any]] = [{"collected": list(tests)}]
    for test, outcome in tests.items():
        lines.append({"began": test})
        if outcome:
            lines.append({"test": test, "outcome": outcome, "told": f"{test} says\nmore"})
    if whole:
        lines.append({"finished": 0, "versions": VERSIONS})
    return Run(database, loop, lines, records or [], crash)
