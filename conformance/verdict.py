"""Two runs of a label compared: what passes on Django's own backend must pass on Onloop's."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.jobs import OUTSIDE, Outcome
from conformance.known import Known
from conformance.recorder import EXPECTED_FAILURE, PASSED

MISSING = "missing"
# Of the end of a process's output.
MOST_CHARACTERS = 400


@dataclass
class Verdict:
    """How a label did on Onloop's backend, beside Django's own."""

    label: str
    stock: int
    onloop: int
    new: dict[str, str]  # differences that are not known, with what became of them
    known: list[str]
    stale: list[str]  # known differences that are none any more
    unjudged: str  # why it could not be run on Django's own backend

    @property
    def holds(self) -> bool:
        return not self.new and not self.stale and not self.unjudged


def compare(stock: Outcome, onloop: Outcome, known: list[Known]) -> Verdict:
    """Compare; `known` are the lines that apply to this run."""
    expected = {line.test for line in known}
    different: dict[str, str] = {}
    for test, outcome in stock.tests.items():
        if outcome not in (PASSED, EXPECTED_FAILURE):
            continue
        found = onloop.tests.get(test, MISSING)
        if found != outcome:
            different[test] = found
    # An error of a whole class has an id of its own, which stock does not have.
    different |= {
        test: found
        for test, found in onloop.tests.items()
        if test not in stock.tests and found != PASSED
    }
    stale = [
        test
        for test in expected
        if test not in different and (test in onloop.tests or test in stock.tests)
    ]
    return Verdict(
        onloop.label,
        stock.count(PASSED),
        onloop.count(PASSED),
        {test: found for test, found in different.items() if test not in expected},
        sorted(test for test in different if test in expected),
        sorted(stale),
        stock.details.get(OUTSIDE, "").strip()[-MOST_CHARACTERS:],
    )
