"""The command: what is noted of each row, and what is not."""

import pytest

from reliability import __main__ as soak
from reliability import report
from reliability.summary import Entry, Incomplete
from tests.soak.lines import VERSIONS


def entry(date, **fields):
    return Entry(date=date, scale="5", versions=VERSIONS, **fields)


@pytest.fixture
def soaked(tmp_path, monkeypatch):
    """`soaked(R2=what comes of it, ...)`: the code that the command ends with."""
    monkeypatch.setattr(report, "KEPT", tmp_path / "reliability.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "reliability.md")

    def run(**comes):
        def _soak(row, scale, seeds):
            if isinstance(comes[row.id], BaseException):
                raise comes[row.id]
            return comes[row.id]

        monkeypatch.setattr(soak, "_soak", _soak)
        return soak.main(list(comes))

    return run


def noted():
    return {row: pairs["Python 3.13, Django 6.1"] for row, pairs in report.load().items()}


def test_rows_that_hold_are_noted(soaked):
    assert soaked(R2=entry("new"), R10=entry("new")) == 0
    assert noted() == {"R2": entry("new"), "R10": entry("new")}
    assert report.PAGE.read_text() == report.render(report.load())


def test_a_row_below_its_mark_is_noted_and_makes_the_code(soaked, capsys):
    soaked(R2=entry("old"))
    below = entry("new", faults=["a: 1 x slot lost"])
    assert soaked(R2=below, R3=entry("new")) == 1
    assert noted() == {"R2": below, "R3": entry("new")}
    assert "BELOW ITS MARK" in capsys.readouterr().out
    assert "**below its mark**: a: 1 x slot lost" in report.PAGE.read_text()


def test_a_row_that_did_not_come_to_its_end_keeps_its_entry(soaked, capsys):
    soaked(R2=entry("old"))
    assert soaked(R2=Incomplete("it was broken off"), R3=entry("new")) == 2
    assert noted() == {"R2": entry("old"), "R3": entry("new")}
    assert "R2: nothing is noted" in capsys.readouterr().out


def test_a_soak_that_is_interrupted_keeps_what_it_has_noted(soaked):
    soaked(R3=entry("old"), R5=entry("old"))
    with pytest.raises(KeyboardInterrupt):
        soaked(R2=entry("new"), R3=KeyboardInterrupt(), R5=entry("new"))
    assert noted() == {"R2": entry("new"), "R3": entry("old"), "R5": entry("old")}
    assert report.PAGE.read_text() == report.render(report.load())


def test_a_row_that_cannot_be_run_stops_it_before_anything_runs(soaked):
    with pytest.raises(SystemExit, match=r"R17 has no tests here .*conformance"):
        soaked(R2=entry("new"), R17=entry("new"))
    assert not report.KEPT.exists()
