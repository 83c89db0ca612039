"""The differences that are known: `known.txt`, a line each, with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("known.txt")
CAUSES = {
    "test": "Django's test",  # it asserts on threads or on a private detail
    "permanent": "ours, permanent",  # with its decision page
    "open": "ours, open",
    "out": "Django's test, left out",  # those that follow would fail with it
}


@dataclass(frozen=True)
class Known:
    """One test that passes on Django's own backend and not on Onloop's."""

    cause: str
    runs: frozenset[str]  # "postgresql", "sqlite", "handler-postgresql", ...
    versions: frozenset[str]  # "5.2", "6.1"
    test: str
    reason: str

    def applies(self, run: str, version: str) -> bool:
        return run in self.runs and version in self.versions


def read(file: Path = FILE) -> list[Known]:
    """Read the list.

    Raises `ValueError` with the line that is malformed.
    """
    found = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|", 4)]
        if len(parts) != 5 or parts[0] not in CAUSES or not all(parts):
            raise ValueError(
                f"{file.name}:{number}: expected 'cause | runs | versions | test | reason', "
                f"with a cause of {', '.join(CAUSES)}: {line!r}"
            )
        cause, runs, versions, test, reason = parts
        found.append(
            Known(cause, frozenset(runs.split()), frozenset(versions.split()), test, reason)
        )
    return found
