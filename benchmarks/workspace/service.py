"""The service as `make demo-full` runs it, and what its web processes take."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = ROOT / "examples" / "workspace"
START_S, STOP_S = 180, 120


class Service:
    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log

    @property
    def web(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "web" in child.cmdline()]

    def make_users(self, number: int) -> list[dict[str, str]]:
        """Sessions and rooms of so many users, who are new in the database."""
        script = Path(__file__).with_name("sessions.py")
        done = subprocess.run(
            [sys.executable, str(script), str(number), "visitor"],
            cwd=WORKSPACE,
            # With the keys and addresses that a web process has.
            env={**self.web[0].environ(), "STOCK": "0", "PYTHONPATH": str(WORKSPACE)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def takes(self) -> tuple[int, float]:
        """Threads, and memory in MiB, of both web processes."""
        threads, memory = 0, 0
        for process in self.web:
            with suppress(psutil.Error):
                threads += process.num_threads()
                memory += process.memory_info().rss
        return threads, memory / 2**20


@contextmanager
def running(*, stock: bool, port: int, upstream: str) -> Iterator[Service]:
    """The whole of it, with a database of its own, until the block is left."""
    with tempfile.TemporaryDirectory(prefix="onloop-workspace-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user
        log = folder / "output"
        services: dict[str, Any] = {
            f"{name.upper()}_URL": f"{upstream}/{name}" for name in ("weather", "rates", "news")
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "demo_full.py"],
                cwd=WORKSPACE,
                env={
                    **os.environ,
                    **services,
                    "DEMO_FULL_DIR": str(folder / "data"),
                    "NO_PROXY": "127.0.0.1",
                    "PORT": str(port),
                    "STOCK": str(int(stock)),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(process, log, f"{url}/ ")
            yield Service(process, url, log)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)


def _wait(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline = time.monotonic() + START_S
    while text not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"The service did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
