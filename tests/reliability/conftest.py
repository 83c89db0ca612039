"""A PostgreSQL of these tests' own, which they may shut down and start again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from tests.database import ALIASES, TestDatabases, close_pools
from tests.postgres import DATABASE, Place, PostgresServer


class OwnServer(PostgresServer):
    """Its databases have the tables of the tests' project, and keep what was committed."""

    databases: TestDatabases

    def prepare(self, folder: Path) -> None:
        self.start()
        self.databases = TestDatabases("postgresql", folder, self.place)
        with self.databases.connect() as outsider:
            # Unlike the run's: what is committed is there after any shutdown.
            outsider.execute(f"ALTER DATABASE {DATABASE} SET synchronous_commit = on")
        with self.in_use():
            self.databases.create_schema()

    def stop(self) -> None:
        if hasattr(self, "databases"):
            self.databases.close()
        super().stop()

    @contextlib.contextmanager
    def in_use(self, place: Place | None = None) -> Iterator[None]:
        """Send Django's aliases to this server, or to a `place` in front of it."""
        host, port = (place or self.place).socket_dir, (place or self.place).port
        before = {alias: dict(connections.settings[alias]) for alias in ALIASES}
        close_pools()
        for alias in ALIASES:
            connections.settings[alias].update(HOST=host, PORT=str(port))
        try:
            yield
        finally:
            close_pools()
            for alias, settings in before.items():
                connections.settings[alias].update(settings)


@pytest.fixture
def silent_log(caplog: pytest.LogCaptureFixture) -> None:
    """No tracebacks of requests that fail: pytest would keep millions of lines."""
    caplog.set_level(logging.CRITICAL, logger="django.request")
    caplog.set_level(logging.CRITICAL, logger="onloop.db")


@pytest.fixture(scope="session")
def _own_server(
    database: TestDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnServer]:
    server = OwnServer()
    try:
        server.prepare(tmp_path_factory.mktemp("own-server"))
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_server(_own_server: OwnServer) -> Iterator[OwnServer]:
    """The server, running and with empty tables; Django's aliases do not go there by itself."""
    yield _own_server
    if _own_server.halted:
        _own_server.resume()
    _own_server.databases.clean()
