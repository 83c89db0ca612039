"""One run of pytest for a row, a database and a loop, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from reliability.plugin import VARIABLE
from reliability.rows import ROOT
from reliability.summary import Incomplete, Line, Run

LOGS = ROOT / ".reliability"
# PostgreSQL takes the tests that need no database too, as in the test suite.
PLACES = [
    ("postgresql", "asyncio"),
    ("postgresql", "uvloop"),
    ("sqlite", "asyncio"),
    ("sqlite", "uvloop"),
]
# By these a process ends itself: a finding. Others are somebody's, or of a lack of memory.
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
NO_TESTS = 5
# Seconds that pytest has to put things away when the soak is interrupted.
GRACE_S = 30


def run(
    modules: list[str], database: str, loop: str, *, scale: str, seeds: str, name: str
) -> Run:
    """Run the modules; the log is `.reliability/NAME.log`.

    Raises `Incomplete` if pytest did not come to its end, for a reason that says nothing of the
    tests.
    """
    LOGS.mkdir(exist_ok=True)
    outcomes, records = LOGS / f"{name}.outcomes", LOGS / f"{name}.records"
    for file in (outcomes, records):
        file.unlink(missing_ok=True)
    environment = os.environ | {
        VARIABLE: str(outcomes),
        "ONLOOP_RELIABILITY_RECORD": str(records),
        "ONLOOP_RELIABILITY_SCALE": scale,
        "ONLOOP_RELIABILITY_SEEDS": seeds,
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("PYTEST_ADDOPTS", None)  # `-x`, `-k`, ... would make it another run
    command = [sys.executable, "-m", "pytest", "-p", "reliability.plugin"]
    command += [f"--db={database}", f"--loop={loop}"]
    command += [] if database == "postgresql" else ["-m", "database"]
    with (LOGS / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *modules],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C comes from us, once
        )
        try:
            code = process.wait()
        finally:
            _end(process)
    crash = signal.Signals(-code).name if -code in CRASHES else ""
    if code not in {0, 1, NO_TESTS} and not crash:
        raise Incomplete(f"pytest ended with code {code}")
    return Run(database, loop, _lines(outcomes), _lines(records), crash)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End pytest in order; does nothing to one that has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lines(file: Path) -> list[Line]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
