"""A planted row, run as the soak runs one."""

import signal
import subprocess
import sys
import time

import pytest

from reliability import machine, runs
from reliability.rows import ROOT
from reliability.summary import Incomplete, summarise

MODULE = "tests/soak/planted/test_r99_planted.py"
HANGS = f'{{"began": "{MODULE}::test_the_last"}}'


@pytest.fixture
def soaked(tmp_path, monkeypatch):
    """`soaked("an end")`: a run of the planted row on SQLite, at scale 4, for two seeds."""
    monkeypatch.setattr(runs, "LOGS", tmp_path / "logs")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x")

    def run(end=""):
        monkeypatch.setenv("ONLOOP_PLANTED", end)
        return runs.run([MODULE], "sqlite", "uvloop", scale="4", seeds="2", name="R99")

    yield run
    log = tmp_path / "logs" / "R99.log"
    print(log.read_text()[-3000:] if log.exists() else "no log")


def test_what_it_did_is_summed_up(soaked):
    entry = summarise([soaked()])
    assert entry.faults == []
    assert entry.counts == {"seeds": 2, "units": 40}
    assert entry.measured == {"longest wait s": [0.5, 0.5]}
    assert entry.planted == ["test_one_that_finds_what_is_planted_is_found"]
    assert entry.runs == [
        {"database": "sqlite", "loop": "uvloop", "passed": 3, "skipped": 3, "planted": 1}
    ]
    assert entry.versions["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"Django", "SQLite", "uvloop"} <= set(entry.versions)


def test_what_fails_is_named(soaked):
    entry = summarise([soaked("fault")])
    assert entry.faults == [
        "test_one_that_finds_a_fault (sqlite, uvloop): 2 x slot lost",
        "test_one_that_fails (sqlite, uvloop): AssertionError: arithmetic",
    ]


def test_a_process_that_crashes_is_named(soaked):
    entry = summarise([soaked("crash")])
    assert entry.faults == ["test_the_last (sqlite, uvloop): the process ended by SIGABRT"]


def test_of_a_run_that_breaks_off_nothing_is_said(soaked):
    with pytest.raises(Incomplete):
        soaked("exit")


def test_a_soak_that_is_ended_ends_its_tests_in_order(tmp_path):
    """By SIGTERM, while a test hangs."""
    code = f"""
import reliability.__main__ as soak, pathlib, signal
from reliability import rows
signal.signal(signal.SIGTERM, soak._interrupted)
soak.runs.LOGS = pathlib.Path({str(tmp_path)!r})
soak.runs.PLACES = [("sqlite", "asyncio")]
soak._soak(type("R", (), {{"id": "R99", "modules": lambda self: [{MODULE!r}]}})(), "1", "1")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**__import__("os").environ, "ONLOOP_PLANTED": "hang"},
        stderr=subprocess.PIPE,
        text=True,
    )
    log, outcomes = (tmp_path / f"R99-sqlite-asyncio.{kind}" for kind in ("log", "outcomes"))
    try:
        while not (outcomes.exists() and HANGS in outcomes.read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=90)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in told
    assert "KeyboardInterrupt" in log.read_text()  # pytest's own end


def test_the_machine_is_told_without_its_name():
    import platform

    told = machine.described()
    assert " x " in told
    assert platform.node() not in told
