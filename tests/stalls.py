"""What the watchdog says, without what it says of a busy machine.

A process that was stopped for a while, or a thread that got no turn, has held its loop as well,
wherever it was. The watchdog says so, and a test takes no notice of it.
"""

from __future__ import annotations

STOPPED = "No other thread ran either"


def without_stops(lines: list[str]) -> list[str]:
    """The lines about code that blocked."""
    return [line for line in lines if STOPPED not in line]


def only_of(lines: list[str], what: str) -> str:
    """The one line that has `what` in it, whatever others there are."""
    found = [line for line in lines if what in line]
    assert len(found) == 1, lines
    return found[0]
