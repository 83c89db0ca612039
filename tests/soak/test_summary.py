"""What the runs of a row come to."""

import pytest

from reliability.summary import Incomplete, summarise
from tests.soak.lines import VERSIONS, a_run, record


def test_counts_are_summed_over_tests_and_runs():
    runs = [
        a_run({"a": "passed", "b": "passed"}, [record("a", units=2), record("b", units=3)]),
        a_run({"a": "passed", "b": "skipped"}, [record("a", units=5)], loop="uvloop"),
    ]
    entry = summarise(runs)
    assert entry.counts == {"units": 10}
    assert entry.holds
    assert [run["loop"] for run in entry.runs] == ["asyncio", "uvloop"]
    assert entry.versions == VERSIONS


def test_figures_are_a_range():
    records = [record("a"), record("a"), record("a")]
    for each, value in zip(records, (3, 1, 2), strict=True):
        each["measured"]["wait s"] = value
    assert summarise([a_run({"a": "passed"}, records)]).measured == {"wait s": [1, 3]}


def test_what_is_found_in_a_test_that_passed_was_planted_and_counts_for_nothing():
    records = [record("a[x]", units=2), record("a[x]", {"slot lost": 1}, units=3)]
    entry = summarise([a_run({"a[x]": "passed"}, records), a_run({"a[x]": "passed"}, records)])
    assert entry.holds
    assert entry.planted == ["a[x]"]
    assert entry.counts == {}


def test_what_is_found_in_a_test_that_failed_is_a_fault():
    records = [record("a", {"slot lost": 1}), record("a", {"slot lost": 2, "hangs": 1})]
    entry = summarise([a_run({"a": "failed"}, records)])
    assert entry.faults == ["a (postgresql, asyncio): 3 x slot lost, 1 x hangs"]
    assert entry.planted == []
    assert not entry.holds


def test_a_planted_fault_that_is_not_found_is_a_fault():
    entry = summarise([a_run({"a_is_found": "failed"}, [record("a_is_found", units=1)])])
    (fault,) = entry.faults
    assert fault.startswith("a_is_found (postgresql, asyncio): tests/reliability/")
    assert "more" not in fault


def test_a_run_without_a_meaning_is_none():
    runs = [a_run({"a": "passed"}), a_run({"a": "skipped"}, database="sqlite")]
    assert [run["database"] for run in summarise(runs).runs] == ["postgresql"]


@pytest.mark.parametrize(
    "run",
    [
        a_run({"a": "passed", "b": ""}, whole=False),
        a_run({"a": "passed", "b": ""}),
        a_run({"a": "skipped"}),
        a_run({}),
    ],
    ids=["broken off", "a test without an outcome", "all skipped", "no tests"],
)
def test_nothing_can_be_said_from(run):
    with pytest.raises(Incomplete):
        summarise([run])


def test_one_run_that_is_broken_off_spoils_all():
    with pytest.raises(Incomplete):
        summarise([a_run({"a": "passed"}), a_run({"a": ""}, whole=False)])


def test_a_crash_is_a_fault_of_the_test_that_ran():
    run = a_run({"a": "passed", "b": ""}, whole=False, crash="SIGSEGV")
    entry = summarise([a_run({"a": "passed"}), run])
    assert entry.faults == ["b (postgresql, asyncio): the process ended by SIGSEGV"]
