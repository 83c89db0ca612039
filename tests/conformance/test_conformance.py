"""The judge itself: what differs is found, whatever way it fails, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import jobs, known, suite
from conformance.databases import Databases
from conformance.jobs import Job, Outcome
from conformance.known import Known
from conformance.verdict import compare

SUITE = suite.Suite("", "planted-1", Path(__file__).parent / "suite", "worker.py", (), ())
PLANTED = "planted.tests.Planted."


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """The planted label on both engines; what hangs is given up soon."""
    with pytest.MonkeyPatch.context() as patch, Databases("sqlite") as databases:
        patch.setattr(jobs, "STALL_S", 3)
        return {
            engine: jobs.run(
                Job(
                    SUITE,
                    suite.ROOT / "src",
                    "planted",
                    engine,
                    databases.settings(engine, "planted", 0),
                )
            )
            for engine in ("stock", "onloop")
        }


def test_each_way_to_differ_is_found(outcomes):
    verdict = compare(outcomes["stock"], outcomes["onloop"], [])
    assert verdict.new == {
        f"{PLANTED}test_d_fails": "failed",
        f"{PLANTED}test_e_fails_in_a_subtest": "failed",
        f"{PLANTED}test_f_is_skipped": "skipped",
        f"{PLANTED}test_g_kills_its_process": "died",
        f"{PLANTED}test_h_hangs": "hung",
        "setUpClass (planted.tests.PlantedInTheSetUp)": "error",
        jobs.OUTSIDE: "died",
        "planted.tests.PlantedInTheSetUp.test_it_is_not_reached": "missing",
    }
    assert not verdict.holds
    # `test_c` says that it ran in a bridge, on a connection of a scope.
    assert (verdict.stock, verdict.onloop) == (9, 3)


def test_what_is_known_does_not_fail_the_run_and_what_passes_again_does(outcomes):
    stock, onloop = outcomes["stock"], outcomes["onloop"]
    different = compare(stock, onloop, []).new

    def lines(*tests: str) -> list[Known]:
        return [Known("open", frozenset(), frozenset(), test, "planted") for test in tests]

    verdict = compare(stock, onloop, lines(*different))
    assert verdict.holds
    assert set(verdict.known) == set(different)
    verdict = compare(stock, onloop, lines(*different, f"{PLANTED}test_a_passes"))
    assert (verdict.holds, verdict.stale) == (False, [f"{PLANTED}test_a_passes"])


def test_a_hang_tells_where_it_stood(outcomes):
    details = outcomes["onloop"].details[f"{PLANTED}test_h_hangs"]
    assert "in test_h_hangs" in details


def test_lines_of_the_list_are_checked(tmp_path):
    file = tmp_path / "known.txt"
    file.write_text("# a comment\n\npermanent | sqlite | 5.2 6.1 | a.b.C.test | a | reason\n")
    (line,) = known.read(file)
    assert line.applies("sqlite", "6.1")
    assert not line.applies("postgresql", "6.1")
    assert line.reason == "a | reason"
    file.write_text("because | sqlite | 5.2 | a.b.C.test | a reason\n")
    with pytest.raises(ValueError, match=r"known\.txt:1: expected 'cause"):
        known.read(file)


def test_the_list_in_use_is_well_formed_and_short():
    lines = known.read()
    for database in ("postgresql", "sqlite"):
        assert 0 < sum(database in line.runs for line in lines) < 60
        assert not [line for line in lines if line.cause == "open" and database in line.runs]
    assert len({(line.test, line.runs) for line in lines}) == len(lines)
