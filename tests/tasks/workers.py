"""A real Celery worker, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.postgres import ROOT
from tests.tasks.waiting import wait_until

# A prefork worker that is told to end while a process of it writes a result may read half of
# that, and never end: Celery's fault, and no matter of these tests.
CELERYS_OWN = "Error on stopping Pool: UnpicklingError"


class Worker:
    """`celery worker` over the test project; returns when it is ready."""

    def __init__(
        self, folder: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> None:
        self.log = folder / "worker.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.tasks.celeryapp"),
                    *("worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"),
                    *arguments,
                ],
                cwd=ROOT,
                env={**os.environ, "PGAPPNAME": "onloop-server", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: " ready." in self.text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """As SIGTERM does; a worker that does not end in time is killed, with its children."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if CELERYS_OWN in self.text():
                return
            raise AssertionError(f"The worker did not end.\n{self.text()}") from None
