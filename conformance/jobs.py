"""One label, run in a watched process of its own: a test that hangs ends that one only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from conformance.suite import Suite

HERE = Path(__file__).resolve().parent
# Seconds without a sign of life after which a process is ended. Django's slowest test takes 20.
STALL_S = 120
# A label in which more tests than that hang is given up.
MOST_HANGS = 5
HUNG, DIED = "hung", "died"
# Stands for a test where a process hung or failed in none.
OUTSIDE = "(outside of any test)"


@dataclass(frozen=True)
class Job:
    """What to run, and on what."""

    suite: Suite
    source: Path  # of Onloop
    label: str
    engine: str  # "onloop" or "stock"
    databases: dict[str, dict[str, object]]
    left_out: tuple[str, ...] = ()  # tests
    redis: str = ""  # its address, for those of caches


@dataclass
class Outcome:
    """What became of each test of a label, by its id, and the text of those that failed."""

    label: str
    tests: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    log: str = ""

    def count(self, outcome: str) -> int:
        return sum(found == outcome for found in self.tests.values())


def run(job: Job) -> Outcome:
    """Run a label; once more, without it, for each test that hangs or kills the process."""
    began = time.monotonic()
    outcome = Outcome(job.label)
    left_out = list(job.left_out)
    for _ in range(MOST_HANGS):
        stopped_at = _run_once(job, outcome, left_out)
        if stopped_at is None:
            break
        left_out.append(stopped_at)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _run_once(job: Job, outcome: Outcome, left_out: list[str]) -> str | None:
    """Run a label; return the test at which the process hung or died, if it did."""
    folder = Path(tempfile.mkdtemp(prefix="onloop-conformance-"))
    events = folder / "events"
    events.touch()
    (folder / "tmp").mkdir()
    env = {
        **os.environ,
        "CONFORMANCE_DATABASES": json.dumps(job.databases),
        "CONFORMANCE_ENGINE": job.engine,
        "CONFORMANCE_EVENTS": str(events),
        "CONFORMANCE_HANDLER": "1" if job.suite.kind.endswith("handler") else "",
        "CONFORMANCE_OUTSIDE": "1" if job.suite.kind.endswith("outside") else "",
        "CONFORMANCE_REDIS": job.redis,
        "CONFORMANCE_LEAVE_OUT": json.dumps(left_out),
        "PYTHONPATH": str(job.source),
        "TMPDIR": str(folder / "tmp"),
    }
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, str(HERE / job.suite.script)),
                    *(str(job.suite.folder), job.label),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
            try:
                hung = _watch(process, events)
            finally:
                _end(process)
        current = _read(events, outcome)
        outcome.log = (folder / "log").read_text(errors="replace")[-20_000:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if current is None and (hung or process.returncode):
        current = OUTSIDE  # while databases were made, or dropped at the end
    if current is None:
        return None
    outcome.tests[current] = HUNG if hung else DIED
    outcome.details[current] = outcome.log
    return None if current == OUTSIDE else current


def _watch(process: subprocess.Popen[bytes], events: Path) -> bool:
    """Wait for the end of a process; return whether it hung and was ended."""
    seen, since = -1, time.monotonic()
    while True:
        try:
            process.wait(0.5)
            return False
        except subprocess.TimeoutExpired:
            pass
        size = events.stat().st_size
        if size != seen:
            seen, since = size, time.monotonic()
        elif time.monotonic() - since > STALL_S:
            process.send_signal(signal.SIGUSR1)  # where does it stand?
            time.sleep(1)
            return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _read(events: Path, outcome: Outcome) -> str | None:
    """Take over what a process has written; return the test that it was in, if any."""
    current = None
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event[0] == "start":
            current = event[1]
            continue
        _, test, result, detail = event
        outcome.tests[test] = result
        outcome.details.pop(test, None)
        if detail:
            outcome.details[test] = detail
        if test == current:
            current = None
    return current
