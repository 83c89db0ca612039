"""What the runs of one row come to: sums of counts, ranges of figures, faults, planted faults.

Pure functions of what pytest's plugin and `Findings` wrote. A test that passed although one of
its records has faults had planted them: they were caught, and what else it did counts for
nothing. Any other test that has a record tells what was done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Line = dict[str, Any]


class Incomplete(Exception):
    """A run did not come to its end: nothing can be said from it."""


@dataclass(frozen=True)
class Run:
    """One run of pytest: on which database and loop, and the lines that it wrote.

    `outcomes`: of the plugin. `records`: of `Findings.judge()`. `crash`: the name of the signal
    by which the process ended itself, or "".
    """

    database: str
    loop: str
    outcomes: list[Line]
    records: list[Line]
    crash: str = ""

    def verdicts(self) -> dict[str, Line]:
        return {line["test"]: line for line in self.outcomes if "test" in line}

    def planted(self) -> set[str]:
        """Return the tests that planted a fault, and found it."""
        verdicts = self.verdicts()
        return {
            test_of(record)
            for record in self.records
            if record["kinds"] and verdicts.get(test_of(record), {}).get("outcome") == "passed"
        }

    def check(self) -> None:
        """Raise `Incomplete` unless each test that was collected has an outcome, or crashed."""
        collected = [line["collected"] for line in self.outcomes if "collected" in line]
        finished = [line["finished"] for line in self.outcomes if "finished" in line]
        if self.crash and collected:
            return
        if not collected or not finished:
            raise Incomplete("it was broken off")
        missing = set(collected[0]) - set(self.verdicts())
        if missing:
            raise Incomplete(f"{len(missing)} of its tests did not run")


@dataclass
class Entry:
    """What is kept of a row: one line of the page."""

    date: str = ""
    scale: str = ""
    seeds: str = ""
    took_s: float = 0.0
    runs: list[Line] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    measured: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    planted: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""

    @property
    def holds(self) -> bool:
        return not self.faults

    @property
    def pair(self) -> str:
        """Which Python and Django: entries of another pair stand beside this one."""
        python, django = self.versions["Python"], self.versions["Django"]
        return f"Python {_minor(python)}, Django {_minor(django)}"


def test_of(record: Line) -> str:
    """Return the id of the test that has made a record: without " (call)"."""
    return str(record["test"]).rpartition(" (")[0]


def summarise(runs: list[Run]) -> Entry:
    """Sum up all runs of a row. Raises `Incomplete` if one of them has no whole result."""
    entry = Entry()
    counts: Counter[str] = Counter()
    planted: set[str] = set()
    for run in runs:
        run.check()
        outcomes = Counter(verdict["outcome"] for verdict in run.verdicts().values())
        if not outcomes["passed"] + outcomes["failed"] and not run.crash:
            continue  # nothing in it has a meaning on this database
        of_run = run.planted()
        entry.runs.append(
            {"database": run.database, "loop": run.loop, **outcomes, "planted": len(of_run)}
        )
        entry.faults += _faults(run)
        planted |= of_run
        for record in run.records:
            if test_of(record) not in of_run:
                counts.update(record["counts"])
                for name, value in record["measured"].items():
                    lowest, highest = entry.measured.get(name, (value, value))
                    entry.measured[name] = [min(lowest, value), max(highest, value)]
        for line in run.outcomes:
            entry.versions.update(line.get("versions", {}))
    if not entry.runs:
        raise Incomplete("none of its tests has run")
    entry.counts = dict(sorted(counts.items()))
    entry.planted = sorted({test.partition("::")[2] for test in planted})
    return entry


def _faults(run: Run) -> Iterator[str]:
    """Tell what each test that failed has found, and what it was that failed."""
    where = f"{run.database}, {run.loop}"
    for test, verdict in run.verdicts().items():
        if verdict["outcome"] != "failed":
            continue
        kinds: Counter[str] = Counter()
        for record in run.records:
            if test_of(record) == test:
                kinds.update(record["kinds"])
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        told = found or verdict["told"].partition("\n")[0] or "it failed"
        yield f"{test.partition('::')[2]} ({where}): {told}"
    if run.crash:
        begun = [line["began"] for line in run.outcomes if "began" in line]
        test = begun[-1].partition("::")[2] if begun else "before the first test"
        yield f"{test} ({where}): the process ended by {run.crash}"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
