"""Options, marks and fixtures of the whole suite; `README.md` explains them.

A run is about one kind of database, chosen by `--db`. Django is set up before any test module
is imported; the PostgreSQL server starts when the first test asks for it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

import django
import httpx
import pytest

from onloop import bridge
from tests.database import KINDS, Activity, TestDatabases, close_pools, export
from tests.loops import (  # noqa: F401 - three are fixtures
    bare_loop,
    bridged,
    runner,
    suspended_bridges,
)
from tests.postgres import PostgresServer
from tests.redis import RedisServer
from tests.servers import AsgiServer, AsgiServers, Serving

LOOPS = ("asyncio", "uvloop")
HTTP_TIMEOUT_S = 90

_databases = pytest.StashKey[TestDatabases]()
_postgres = pytest.StashKey[PostgresServer]()
_folder = pytest.StashKey[Path]()


# --- set-up -----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("onloop")
    group.addoption(
        "--db",
        choices=KINDS,
        default=os.environ.get("ONLOOP_TEST_DB", "postgresql"),
        help="the database that this run is about (default: $ONLOOP_TEST_DB or postgresql)",
    )
    group.addoption(
        "--loop", choices=LOOPS, default="asyncio", help="the event loop of async tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's `&` has done that, and servers that tests end by Ctrl-C would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", "database: uses a database; set by itself where a fixture of ours is used"
    )
    config.addinivalue_line(
        "markers", "loop: runs on the loop that `--loop` chooses; set by itself"
    )
    config.addinivalue_line(
        "markers", "only_on(kind): says something about one kind of database, skipped on others"
    )
    kind = config.getoption("db")
    folder = config.stash[_folder] = Path(tempfile.mkdtemp(prefix="onloop-tests-"))
    place = None
    if kind == "postgresql":
        server = config.stash[_postgres] = PostgresServer()
        place = server.place
    databases = config.stash[_databases] = TestDatabases(kind, folder, place)
    export(databases)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (server := config.stash.get(_postgres, None)) is not None:
        server.stop()
    if (folder := config.stash.get(_folder, None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"onloop: Python {python}, Django {django.get_version()},"
        f" database {config.getoption('db')}, loop {config.getoption('loop')}"
    )


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kind = config.getoption("db")
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "database" in fixtures:
            item.add_marker(pytest.mark.database)
        if _runs_on_the_loop(item):
            item.add_marker(pytest.mark.loop)
        wanted = {mark.args[0] for mark in item.iter_markers("only_on")}
        if "postgres" in fixtures:
            wanted.add("postgresql")
        if wanted - {kind}:
            item.add_marker(pytest.mark.skip(reason=f"about {', '.join(wanted)} only"))


def _runs_on_the_loop(item: pytest.Item) -> bool:
    info = getattr(item, "_fixtureinfo", None)
    fixtures = info.name2fixturedefs.values() if info is not None else ()
    if "asgi_servers" in getattr(item, "fixturenames", ()):
        return False  # the loop is the server's
    functions = [getattr(item, "obj", None), *(each.func for all_ in fixtures for each in all_)]
    return any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        for function in functions
    )


def pytest_collection_finish() -> None:
    _freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    result = yield
    if nextitem is not None and nextitem.path != item.path:
        _freeze()
    return result


def _freeze() -> None:
    """Leave what is there between two modules out of garbage collections and `get_objects`.

    Each look for leaks has some, and would go through the items of the whole run and the
    reports of all tests before: 200 ms, in place of 20. Bridges must be seen in later tests
    too: those that are kept to be used again go, and where one is left suspended, all stays
    as it is.
    """
    bridge._idle.bridges.clear()
    gc.collect()
    if not suspended_bridges():
        gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if config.getoption("loop") == "uvloop":
        import uvloop

        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def fresh_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that has seen and said nothing yet; those of tests before have ended."""
    from onloop import watchdog

    for thread in threading.enumerate():
        if thread.name == watchdog.NAME:
            thread.join(HTTP_TIMEOUT_S)
    monkeypatch.setattr(watchdog, "_dog", watchdog.Watchdog())


# --- databases --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The run's PostgreSQL server, started; tests that use it are skipped on SQLite.

    `postgres.place.parameters(tcp=True)` are arguments for `psycopg.connect`.
    """
    server = pytestconfig.stash[_postgres]
    if not server.running:
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def database(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[TestDatabases]:
    """The run's databases with their tables, made once. Tests want `db_clean` instead."""
    databases = pytestconfig.stash[_databases]
    if databases.kind == "postgresql":
        request.getfixturevalue("postgres")
    databases.create_schema()
    yield databases
    databases.close()


@pytest.fixture
def db_clean(database: TestDatabases) -> Iterator[TestDatabases]:
    """Empty databases `default` and `other`, emptied again afterwards.

    No transaction is around the test: what it commits is committed, on as many connections as
    it likes. Afterwards the connections and pools of this process are closed, and a transaction
    that is still open anywhere is an error of the test that left it.
    """
    from django.db import connections

    yield database
    connections.close_all()
    close_pools()
    database.clean()


@pytest.fixture
def pg_activity(
    postgres: PostgresServer, database: TestDatabases
) -> Callable[..., list[Activity]]:
    """`pg_activity(query="", *, state=None, application_name=None, alias="default")`.

    Asks pg_stat_activity, over a connection of its own, for the backends whose last statement
    contains `query`. Tests appear as "onloop-tests", servers that they start as
    "onloop-server".
    """
    return database.activity


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """An empty Redis: `url`, `layer(kind, **config)` for CHANNEL_LAYERS, `stop()`, `start()`.

    A test may stop it; the next one gets it started again.
    """
    _redis.stop()
    _redis.start()
    return _redis


# --- servers ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def asgi_servers(
    database: TestDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AsgiServers]:
    """The servers of this run, by what they serve."""
    servers = AsgiServers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.close()


@pytest.fixture
def asgi_server(
    request: pytest.FixtureRequest, asgi_servers: AsgiServers, db_clean: TestDatabases
) -> AsgiServer:
    """The test project on a real server, by default uvicorn on asyncio.

    Another loop or server is an indirect parameter, a name or a `Serving`:
    `@pytest.mark.parametrize("asgi_server", ["asyncio", "uvloop"], indirect=True)`.
    The process is used again by later tests; one that a test ends is replaced.
    """
    wanted = getattr(request, "param", "asyncio")
    serving = Serving(loop=wanted) if isinstance(wanted, str) else wanted
    server = asgi_servers.get(serving)
    server.mark_log()
    return server


@pytest.fixture
def http(asgi_server: AsgiServer) -> Iterator[httpx.Client]:
    """A client of `asgi_server`: `http.get("/ping/")`."""
    with httpx.Client(base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S) as client:
        yield client


@pytest.fixture
async def ahttp(asgi_server: AsgiServer) -> AsyncIterator[httpx.AsyncClient]:
    """The same for async tests: `await ahttp.get("/ping/")`."""
    async with httpx.AsyncClient(base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S) as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    server = getattr(item, "funcargs", {}).get("asgi_server")
    if report.failed and isinstance(server, AsgiServer):
        report.sections.append((f"Log of {server.serving.server}", server.new_log()))
    return report
