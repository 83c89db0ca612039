"""ASGI servers in processes of their own, serving the test project on a free port.

A server is started by its usual command and talked to over a socket, as in production. Its
output goes to a file, whose part since a test began is shown when that test fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import ROOT, ServerFailed, free_port

APPLICATION = "tests.project.asgi:application"
# Against a server that hangs; a slow machine takes its time.
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 90
# A worker of Granian's that is told to end while it starts does not hear it, whatever the
# application is: it is a fork that still has its parent's handlers of signals.
GRANIAN_KILL_S = "30"
# In pg_stat_activity this tells the server's connections from the tests' own.
APPLICATION_NAME = "onloop-server"


def _command(server: str, loop: str, port: int, application: str) -> list[str]:
    python = [sys.executable, "-m"]
    match server, loop:
        case "uvicorn", "asyncio" | "uvloop":
            return [
                *python, "uvicorn", application, "--port", str(port), "--loop", loop,
                "--lifespan", "auto", "--no-access-log",
            ]  # fmt: skip
        case "hypercorn", "asyncio" | "uvloop":
            return [
                *python, "hypercorn", application, "--bind", f"127.0.0.1:{port}",
                "--worker-class", loop,
            ]  # fmt: skip
        case "granian", "asyncio" | "uvloop":
            return [
                *python, "granian", "--interface", "asgi", "--port", str(port),
                "--loop", loop, "--workers-kill-timeout", GRANIAN_KILL_S, application,
            ]  # fmt: skip
        case "daphne", "asyncio":
            return [*python, "daphne", "--port", str(port), application]
    raise ValueError(f"{server} has no loop {loop}")


@dataclass(frozen=True)
class Serving:
    """What makes one server differ from another."""

    server: str = "uvicorn"
    loop: str = "asyncio"
    application: str = APPLICATION
    # Added to the environment, as pairs so that this can be a key.
    env: tuple[tuple[str, str], ...] = ()
    # Added at the end of the command.
    arguments: tuple[str, ...] = ()


@dataclass
class AsgiServer:
    """A running server. `url` has no slash at its end."""

    serving: Serving
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    _seen: int = field(default=0)
    _ends: bool = field(default=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def log_text(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def mark_log(self) -> None:
        """Let `new_log` begin here."""
        self._seen = self.log.stat().st_size

    def new_log(self) -> str:
        """What it has printed since `mark_log`."""
        with self.log.open("rb") as file:
            file.seek(self._seen)
            return file.read().decode(errors="replace")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def begin_to_stop(self) -> None:
        """The first half of `stop`, which does not wait."""
        if self.process.poll() is None and not self._ends:
            self._ends = True  # a second Ctrl-C would cut it off
            self.interrupt()

    def stop(self) -> int:
        """End it as Ctrl-C does and return its exit code. Harmless when it has ended.

        Raises `ServerFailed` if it has to be killed.
        """
        self.begin_to_stop()
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Its whole group: hypercorn and granian have workers.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise ServerFailed(
                f"{self.serving.server} did not stop in {STOP_TIMEOUT_S} s.\n{self.log_text()}"
            ) from None


def start(serving: Serving, folder: Path) -> AsgiServer:
    """Start a server whose log goes into `folder`; returns when it accepts connections.

    Raises `ServerFailed`.
    """
    port = free_port()
    handle, name = tempfile.mkstemp(prefix=f"{serving.server}-", suffix=".log", dir=folder)
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [
                *_command(serving.server, serving.loop, port, serving.application),
                *serving.arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "PGAPPNAME": APPLICATION_NAME, **dict(serving.env)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in the terminal is the test run's; it stops its servers one by one.
            start_new_session=True,
        )
    server = AsgiServer(serving, port, process, Path(name))
    try:
        _wait_until_it_accepts(server)
    except ServerFailed:
        with contextlib.suppress(ServerFailed):
            server.stop()
        raise
    return server


def _wait_until_it_accepts(server: AsgiServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        except OSError:
            pass
        if (code := server.process.poll()) is not None:
            raise ServerFailed(
                f"{server.serving.server} ended with code {code} before it served.\n"
                f"{server.log_text()}"
            )
        time.sleep(0.02)
    raise ServerFailed(
        f"{server.serving.server} did not serve in {START_TIMEOUT_S} s.\n{server.log_text()}"
    )


# So many run on when nobody asks for them: each has a pool of connections.
KEPT_SERVERS = 16


class AsgiServers:
    """The servers of one test run, started when first asked for and used again after that.

    The one that was not asked for for longest ends when there are too many.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[Serving, AsgiServer] = {}

    def get(self, serving: Serving) -> AsgiServer:
        """The server for `serving`; a new one if a test has ended the last."""
        server = self._running.pop(serving, None)
        if server is None or server.process.poll() is not None:
            while len(self._running) >= KEPT_SERVERS:
                self._running.pop(next(iter(self._running))).stop()
            server = start(serving, self._folder)
        self._running[serving] = server  # the last in line
        return server

    def close(self) -> None:
        """Stop them all; raises the first `ServerFailed` when all have ended."""
        failures = []
        for server in self._running.values():
            server.begin_to_stop()
        for server in self._running.values():
            try:
                server.stop()
            except ServerFailed as failure:
                failures.append(failure)
        self._running.clear()
        if failures:
            raise failures[0]
