"""The rows of the table: what each of them tests, its full figure, and its test modules.

A row's tests are the modules `test_r<number>_....py` of `tests/reliability` and
`tests/security`; they are found by that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("tests/reliability", "tests/security")


@dataclass(frozen=True)
class Row:
    """`elsewhere`: what shows it in place of a soak."""

    id: str
    what: str
    figure: str
    elsewhere: str = ""

    def modules(self, root: Path = ROOT) -> list[str]:
        """Return its test modules, as paths below `root`."""
        pattern = f"test_{self.id.lower()}_*.py"
        found = (path for folder in FOLDERS for path in (root / folder).glob(pattern))
        return sorted(str(path.relative_to(root)) for path in found)


ROWS = [
    Row(
        "R1",
        "each scenario cancelled once and twice at each of its waits: queries, COMMIT, "
        "ROLLBACK, savepoints, server-side cursors, waits for the pool, connects, uploads, "
        "streams",
        "0 failures",
    ),
    Row(
        "R2",
        "10,000 requests and tasks cancelled at random, 3 seeds, pools of 1, 4 and 10",
        "0 slots lost, 0 cancels swallowed",
    ),
    Row(
        "R3",
        "a cancel in each forced window: acquire, release, grow, commit, hand-overs",
        "0 lost",
    ),
    Row(
        "R4",
        "20 restarts of the database under load",
        "the full rate again within 5 s, only clear errors between",
    ),
    Row(
        "R5",
        "back ends killed while 10,000 operations work",
        "0 wrong results, 0 lost commits that were reported as done",
    ),
    Row(
        "R6",
        "faults of the network: cut, delay, reset, black hole",
        "an answer within the time-out and 1 s",
    ),
    Row(
        "R7",
        "the database is away for 10 minutes",
        "attempts back off with jitter; a start without it works, ready within 5 s of its "
        "return",
    ),
    Row(
        "R8",
        "1,000 clients on a pool of 10",
        "less than 50 MB more; beyond the queue 503 with Retry-After in less than 100 ms",
    ),
    Row(
        "R9",
        "10,000 interleaved tasks",
        "0 leaks of transaction, session setting, user or language between them",
    ),
    Row("R10", "10,000 transfers under kills and cancels", "the sum never changes"),
    Row(
        "R11",
        "how long the loop is held at twenty requests at once, on PostgreSQL",
        "99.9 % below 50 ms (judged in full only), 0 blocking calls on the loop",
    ),
    Row(
        "R12",
        "100 times SIGTERM under load",
        "0 requests lost that had been received, within the time of grace",
    ),
    Row("R13", "memory over 1 million requests", "its slope is within the noise"),
    Row(
        "R14",
        "2,000 sockets, 200 of them killed a second",
        "0 orphans in groups or presence after 30 s",
    ),
    Row(
        "R15",
        "a socket that reads slowly",
        "closed within 30 s; 99 % of the others' messages in less than twice the time",
    ),
    Row("R16", "cases of the socket protocol, through each server", "0 failed"),
    Row(
        "R17",
        "Django's own test suite in a bridge, both databases, both ends of the version range",
        "all but a list with a reason for each",
        "[conformance](conformance.md), by `make conformance`",
    ),
    Row(
        "R18",
        "bodies as attacks: false lengths, 10 GB, 10,000 parts, 100,000 headers, a byte at a "
        "time",
        "400, 408 or 413; memory within the limit and 1 MB; work in proportion",
    ),
    Row("R19", "60 Origin headers", "never let in, never 500"),
    Row(
        "R20",
        "200 hostile file names, 1,000 uploads cut off",
        "0 files outside of the root, 0 partial files",
    ),
    Row("R21", "hostile SQL identifiers and parameters", "0 escapes"),
    Row(
        "R22", "fuzzed ASGI messages, bodies and frames of sockets", "0 undocumented exceptions"
    ),
]


class UnknownRow(ValueError):
    """A row was asked for that cannot be run; the message tells which can."""


def chosen(names: list[str], root: Path = ROOT) -> Iterator[Row]:
    """Give the rows of these names, or all that have tests. Raises `UnknownRow`."""
    known = {row.id: row for row in ROWS}
    runnable = [row.id for row in ROWS if row.modules(root)]
    for name in names or runnable:
        row = known.get(name.upper())
        if row is None or row.id not in runnable:
            why = f" ({row.elsewhere})" if row is not None and row.elsewhere else ""
            raise UnknownRow(
                f"{name} has no tests here{why}. Those that have: {' '.join(runnable)}."
            )
        yield row
