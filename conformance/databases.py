"""The databases that the tests run on: a server of our own, or files in memory. And a Redis."""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from conformance.suite import Suite
from tests.postgres import PostgresServer
from tests.redis import RedisServer

# Labels that make test databases once more, and would be asked whether to overwrite a file.
IN_MEMORY = {"test_runner"}
KINDS = {"postgresql": "postgresql", "sqlite": "sqlite3", "memory": "sqlite3"}
# No time goes to the disk for what is thrown away.
_SQLITE_OPTIONS = {"init_command": "PRAGMA synchronous=OFF"}


class Databases:
    """Gives each process of a run the settings of its own two databases."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.version = ""
        self._stack = ExitStack()
        self._server: PostgresServer | None = None
        self._folder = Path()

    def __enter__(self) -> Databases:
        if self.kind in ("sqlite", "memory"):
            shm = Path("/dev/shm")  # noqa: S108 - in memory, where there is such a place
            place = shm if shm.is_dir() else None
            folder = tempfile.TemporaryDirectory(prefix="onloop-conformance-", dir=place)
            self._folder = Path(self._stack.enter_context(folder))
            self.version = f"SQLite {sqlite3.sqlite_version}"
            if self.kind == "memory":
                self.version += " in memory"
            return self
        server = self._server = PostgresServer(system_binaries())
        server.start()
        self._stack.callback(server.stop)
        with psycopg.connect(**server.place.parameters()) as connection:
            number = connection.info.server_version
        self.version = f"PostgreSQL {number // 10_000}.{number % 10_000}"
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def settings(self, engine: str, label: str, slot: int) -> dict[str, dict[str, Any]]:
        """`DATABASES` for one process; no two at the same time have the same `slot`."""
        package = "onloop" if engine == "onloop" else "django"
        made: dict[str, dict[str, Any]] = {}
        for alias in ("default", "other"):
            name = f"conformance_{slot}_{alias}"
            settings: dict[str, Any] = {
                "ENGINE": f"{package}.db.backends.{KINDS[self.kind]}",
                "NAME": name,
            }
            if self._server is None:
                settings["NAME"] = str(self._folder / f"{name}.sqlite3")
                if self.kind == "sqlite" and label not in IN_MEMORY:
                    settings["TEST"] = {"NAME": str(self._folder / f"test_{name}.sqlite3")}
                settings["OPTIONS"] = _SQLITE_OPTIONS
            else:
                place = self._server.place
                settings.update(HOST=place.socket_dir, PORT=place.port, USER="postgres")
            made[alias] = settings
        return made


@contextmanager
def redis_for(suite: Suite) -> Iterator[str]:
    """The address of a Redis for tests of caches, "" for others."""
    if not suite.kind.startswith("cache"):
        yield ""
        return
    server = RedisServer()
    try:
        server.start()
        yield server.url
    finally:
        server.close()


def system_binaries() -> Path | None:
    """Return where the system's PostgreSQL is, if it is one that brings contrib extensions.

    It has ICU's collations too. The wheel's has neither, and Django's tests want both.
    """
    try:
        said = subprocess.run(
            ["pg_config", "--bindir", "--sharedir"], capture_output=True, text=True, check=True
        ).stdout.split()
        found = [(Path(said[0]), Path(said[1]))]
    except (OSError, subprocess.CalledProcessError):
        found = []
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        version = folder.parent.name
        found.append((folder, Path("/usr/share/postgresql") / version))
    for folder, share in found:
        if (folder / "initdb").exists() and (share / "extension" / "hstore.control").exists():
            return folder
    return None
