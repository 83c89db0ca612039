"""The page says what was seen, and keeps what is not seen again."""

import re

import pytest

from reliability import report
from reliability.rows import ROWS, Row, UnknownRow, chosen
from reliability.summary import Entry
from tests.soak.lines import VERSIONS

DONE = {"database": "sqlite", "loop": "asyncio", "passed": 3, "planted": 1}


def entry(**fields):
    defaults = {"date": "2026-01-02", "scale": "5", "runs": [DONE], "versions": VERSIONS}
    return Entry(**{**defaults, **fields})


def line_of(page, row):
    (line,) = re.findall(rf"^\| {row} \|.*$", page, re.MULTILINE)
    return line


def test_a_row_that_was_run_is_shown_with_its_date_and_scale():
    held = entry(counts={"units": 12345}, measured={"wait s": [0.5, 2]}, planted=["a"])
    line = line_of(report.render({"R2": {held.pair: held}}), "R2")
    for shown in ("holds at this scale", "2 tests (sqlite on asyncio): 12,345 units", "| 5 |"):
        assert shown in line
    assert "wait s 0.5 to 2" in line
    assert line.endswith("| 1 | 5 | A | 2026-01-02 |")


def test_only_the_full_figures_hold_without_more_words():
    assert "| holds |" in report.render({"R2": {"": entry(scale="full")}})


def test_a_row_that_failed_is_below_its_mark():
    failed = entry(scale="full", faults=["a: 3 x slot | lost"])
    line = line_of(report.render({"R2": {failed.pair: failed}}), "R2")
    assert "**below its mark**: a: 3 x slot \\| lost" in line
    assert "holds" not in line


def test_rows_that_were_never_run_are_listed_as_such():
    page = report.render({})
    for row in ROWS:
        line = line_of(page, row.id)
        assert "not shown yet" in line or "[conformance](conformance.md)" in line
        assert "holds" not in line


def test_machines_and_versions_are_named_once():
    one, other = entry(machine="2 x A"), entry(machine="4 x B")
    page = report.render({"R1": {"": one}, "R2": {"": one}, "R3": {"": other}})
    assert page.count("2 x A") == page.count("4 x B") == 1
    assert line_of(page, "R2").endswith("| A | 2026-01-02 |")
    assert line_of(page, "R3").endswith("| B | 2026-01-02 |")


def test_other_rows_and_other_versions_keep_their_entries(tmp_path):
    files = tmp_path / "kept.json", tmp_path / "page.md"
    older = entry(versions=VERSIONS | {"Python": "3.11.7", "Django": "5.2.19"})
    report.save({"R10": {older.pair: older}, "R2": {older.pair: older}}, *files)
    kept = report.load(files[0])
    newer = entry(date="2026-02-03", faults=["it failed"])
    kept.setdefault("R2", {})[newer.pair] = newer
    report.save(kept, *files)
    again = report.load(files[0])
    assert list(again) == ["R2", "R10"]
    assert again["R10"] == {"Python 3.11, Django 5.2": older}
    assert again["R2"] == {"Python 3.11, Django 5.2": older, "Python 3.13, Django 6.1": newer}
    assert files[1].read_text().count("\n| R2 |") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "page.md"]


def test_the_page_is_that_of_what_is_kept():
    assert report.PAGE.read_text() == report.render(report.load())


def test_rows_are_found_by_the_names_of_their_modules(tmp_path):
    folder = tmp_path / "tests" / "security"
    folder.mkdir(parents=True)
    for name in ("test_r2_b.py", "test_r2_a.py", "test_r22_c.py", "test_cves.py"):
        (folder / name).touch()
    assert [row.id for row in chosen([], tmp_path)] == ["R2", "R22"]
    (row,) = chosen(["r2"], tmp_path)
    assert row.modules(tmp_path) == [
        "tests/security/test_r2_a.py",
        "tests/security/test_r2_b.py",
    ]


@pytest.mark.parametrize("name", ["R17", "R14", "R99", "x"])
def test_a_row_without_tests_is_refused(name, tmp_path):
    with pytest.raises(UnknownRow, match=name):
        list(chosen([name], tmp_path))


def test_each_row_stands_once():
    assert [row.id for row in ROWS] == [f"R{number}" for number in range(1, 23)]
    assert all(isinstance(row, Row) and row.what and row.figure for row in ROWS)
