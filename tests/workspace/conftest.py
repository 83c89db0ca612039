"""The example service on a real server, migrated and seeded, with a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from psycopg import sql

from tests.database import TestDatabases
from tests.postgres import ROOT, USER
from tests.servers import AsgiServer, AsgiServers, Serving, start
from tests.workspace import upstreams

if TYPE_CHECKING:
    from playwright.async_api import Browser

WORKSPACE = ROOT / "examples" / "workspace"
NAME = "workspace"
PASSWORD = "only-for-this-test-run"
HTTP_TIMEOUT_S = 90
# Seconds for the panels that nothing is to run into.
PANELS_DEADLINE_S = 90

Starting = Callable[..., AsgiServer]


@pytest.fixture(scope="session")
def workspace_env(
    database: TestDatabases, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of the service; its database is made, migrated and seeded once."""
    return seeded(database, NAME, tmp_path_factory)


def seeded(
    database: TestDatabases, name: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of a service with a database of its own, migrated and seeded."""
    if database.place is None:
        url = f"sqlite:////{tmp_path_factory.mktemp(name) / 'workspace.sqlite3'}"
    else:
        with database.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        place = database.place
        url = f"postgresql://{USER}@{place.host}:{place.port}/{name}"
    env = {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "workspace.settings",
        "PYTHONPATH": str(WORKSPACE),
        "SECRET_KEY": os.urandom(20).hex(),
        "DEMO_PASSWORD": PASSWORD,
        "MEDIA_ROOT": str(tmp_path_factory.mktemp("media")),
    }
    for command in ("migrate", "seed"):
        done = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=WORKSPACE,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return env


@pytest.fixture(scope="session")
def workspace_servers(
    workspace_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AsgiServers]:
    servers = AsgiServers(tmp_path_factory.mktemp("workspace-servers"))
    yield servers
    servers.close()


@pytest.fixture
def asgi_server(
    workspace_servers: AsgiServers, workspace_env: dict[str, str]
) -> Iterator[AsgiServer]:
    """The service on uvicorn; it has printed no traceback when the test ends."""
    server = workspace_servers.get(
        Serving(
            application="workspace.asgi:application",
            env=tuple(workspace_env.items()),
            # A client must not send on a connection that the server closes at that moment.
            arguments=("--timeout-keep-alive", "120"),
        )
    )
    server.mark_log()
    yield server
    assert "Traceback" not in server.new_log(), server.new_log()


@pytest.fixture
def services() -> Iterator[upstreams.Services]:
    """What the panels show, at the hand of the test."""
    with upstreams.services() as running:
        yield running


@pytest.fixture
def starting(workspace_env: dict[str, str], tmp_path: Path) -> Iterator[Starting]:
    """Starts a server for this test alone: `starting(NEWS_URL=...)`."""
    servers: list[AsgiServer] = []
    stack = ExitStack()

    def started(**variables: str) -> AsgiServer:
        env = {**workspace_env, "PANELS_DEADLINE": str(PANELS_DEADLINE_S), **variables}
        serving = Serving(application="workspace.asgi:application", env=tuple(env.items()))
        servers.append(start(serving, tmp_path))
        stack.callback(servers[-1].stop)
        return servers[-1]

    with stack:
        yield started
    for server in servers:
        assert server.stop() == 0
        assert "Traceback" not in server.log_text(), server.log_text()


@pytest.fixture
async def ahttp(asgi_server: AsgiServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may have fifty connections at once."""
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    async with httpx.AsyncClient(
        base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S, limits=limits
    ) as client:
        yield client


@pytest.fixture
def folder() -> Path:
    return WORKSPACE


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium, of the test's own."""
    from tests.workspace.browser import chromium

    async with chromium() as running:
        yield running
