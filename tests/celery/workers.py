"""Workers in processes of their own, started by Celery's usual command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.postgres import ROOT, ServerFailed

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 90
# In pg_stat_activity this tells the workers' connections from the tests' own.
APPLICATION_NAME = "onloop-worker"


@dataclass
class Worker:
    """A running worker, which serves the queue `queue` alone."""

    queue: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        return f"{self.queue}@localhost"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, task: Any, *args: Any, **options: Any) -> Any:
        """`task.apply_async` to this worker."""
        kwargs = options.pop("kwargs", {})
        return task.apply_async(args, kwargs, queue=self.queue, **options)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Until it has ended; returns its exit status. Raises `ServerFailed`."""
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"The worker did not end.\n{self.log_text()}") from None

    def stop(self) -> int:
        """A warm shutdown."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """With the processes that it has made, if any are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(
    folder: Path,
    broker: str,
    queue: str,
    *,
    pool: str = "custom",
    concurrency: int = 20,
    arguments: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
) -> Worker:
    """Start a worker, and return when it is ready. `settings` are Celery's.

    Raises `ServerFailed`.
    """
    handle, name = tempfile.mkstemp(prefix=f"{pool}-", suffix=".log", dir=folder)
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "-A", "tests.celery.app", "worker",
                "--pool", pool, "--concurrency", str(concurrency), "-Q", queue,
                "-n", f"{queue}@localhost", "-l", "INFO", "--without-gossip",
                "--without-mingle", *arguments,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PGAPPNAME": APPLICATION_NAME,
                "ONLOOP_TEST_BROKER": broker,
                "ONLOOP_TEST_CELERY": json.dumps(settings or {}),
                "CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool",
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    worker = Worker(queue, process, Path(name))
    deadline = time.monotonic() + START_TIMEOUT_S
    while f"{queue}@localhost ready." not in worker.log_text():
        if process.poll() is not None or time.monotonic() > deadline:
            worker.kill()
            raise ServerFailed(f"The worker did not start.\n{worker.log_text()}")
        time.sleep(0.05)
    return worker
