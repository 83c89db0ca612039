"""Fixtures of the engine's tests."""

from __future__ import annotations

import asyncio
import copy
import functools
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.db.backends.signals import connection_created

import onloop
from tests.database import TestDatabases, close_pools

from .eventually import eventually

# Audit hooks cannot be taken back, so there is one, and tests put lists here.
_listening: list[list[str]] = []


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _listening and event in ("_thread.start_new_thread", "_thread.start_joinable_thread"):
        for heard in _listening:
            heard.append(repr(args[0]))


@pytest.fixture
def pg_activity(pg_activity: Callable[..., Any]) -> Callable[..., Any]:
    """As everywhere, of this process: a server of other tests may have said COMMIT too."""
    return functools.partial(pg_activity, application_name="onloop-tests")


@pytest.fixture(scope="session")
def _thread_audit() -> None:
    sys.addaudithook(_hear)


@pytest.fixture
def threads_started(
    _thread_audit: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Grows whenever the interpreter starts a thread, however short it lives."""
    heard: list[str] = []
    if sys.version_info < (3, 12):  # which has no such event
        start = threading.Thread.start

        def heard_start(self: threading.Thread) -> None:
            heard.append(repr(self))
            start(self)

        monkeypatch.setattr(threading.Thread, "start", heard_start)
    _listening.append(heard)
    yield heard
    _listening.remove(heard)


@pytest.fixture(params=["bare task", "bridged task"])
def run_task(
    request: pytest.FixtureRequest,
) -> Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]:
    """Runs a coroutine in a task of its own: once without a bridge, once inside a scope."""

    async def bare(coro: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.create_task(coro)

    async def bridged(coro: Coroutine[Any, Any, Any]) -> Any:
        async with onloop.scope():
            return await asyncio.create_task(coro)

    return bare if request.param == "bare task" else bridged


@pytest.fixture
def extra_alias(db_clean: TestDatabases) -> Iterator[Callable[..., str]]:
    """`extra_alias("name", OPTIONS={…}, …)`: the database `default`, with other settings."""
    added = []

    def add(alias: str, **changes: Any) -> str:
        settings = {**copy.deepcopy(connections.settings["default"]), **changes}
        if db_clean.kind == "sqlite":  # nothing here outlives the run
            settings["OPTIONS"] = {
                "init_command": "PRAGMA synchronous=OFF",
                **settings["OPTIONS"],
            }
        connections.settings[alias] = settings
        added.append(alias)
        return alias

    yield add
    try:
        for alias in added:
            connections[alias].close()
        close_pools()
    finally:
        for alias in added:
            del connections[alias]
            del connections.settings[alias]


class Gate:
    """An advisory lock that an outsider holds: what asks for it waits at the server."""

    WAITING = "pg_advisory_xact_lock"

    def __init__(self, outsider: psycopg.Connection[Any], activity: Callable[..., Any]) -> None:
        self._outsider = outsider
        self._activity = activity
        self.sql = f"SELECT {self.WAITING}(4711)"
        outsider.execute("SELECT pg_advisory_lock(4711)")

    def waiting(self) -> list[Any]:
        return [
            backend
            for backend in self._activity(self.WAITING, state="active")
            if backend.wait_event_type == "Lock"
        ]

    def unanswered(self) -> list[Any]:
        """The back ends that have not sent their answer yet."""
        return self._activity(self.WAITING, state="active")  # type: ignore[no-any-return]

    async def until_waiting(self, count: int) -> list[Any]:
        """Wait until as many back ends as `count` stand before the gate at once."""
        return await eventually(
            lambda: len(found := self.waiting()) == count and found,
            f"{count} queries at the server at once",
        )

    def open(self) -> None:
        self._outsider.execute("SELECT pg_advisory_unlock_all()")


@pytest.fixture
def gate(db_clean: TestDatabases, pg_activity: Callable[..., Any]) -> Iterator[Gate]:
    with db_clean.connect() as outsider:
        yield Gate(outsider, pg_activity)


@pytest.fixture(params=["bare task", "bridged task"])
async def shelf(
    request: pytest.FixtureRequest, db_clean: TestDatabases, threads_started: list[str]
) -> AsyncIterator[Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]]:
    """`await shelf(coro)` runs the body of a test on the rows of `shelf.py`.

    Once as it is, once in a task of a scope. It must not start a thread, and every connection
    must be back afterwards.
    """
    from .helpers import assert_all_back
    from .shelf import fill

    async def bridged(coro: Coroutine[Any, Any, Any]) -> Any:
        async with onloop.scope():
            return await asyncio.create_task(coro)

    async def bare(coro: Coroutine[Any, Any, Any]) -> Any:
        return await coro

    await fill()
    threads_started.clear()
    yield bare if request.param == "bare task" else bridged
    assert threads_started == []
    await assert_all_back()


@pytest.fixture
def probe(db_clean: TestDatabases) -> Iterator[Any]:
    """The SQL function `probe(x)` on every connection that is opened: see `sqlite.Probe`.

    What other tests taught the engine about slow texts is forgotten.
    """
    from onloop.db.backends.sqlite3 import connection

    from .sqlite import Probe

    probe = Probe()

    def add(connection: Any, **kwargs: Any) -> None:
        connection.connection.create_function("probe", 1, probe)

    connection._databases.clear()
    connection_created.connect(add)
    yield probe
    probe.release()
    connection_created.disconnect(add)
    connection._databases.clear()


@pytest.fixture
def memory(extra_alias: Callable[..., str]) -> Iterator[str]:
    """The alias of a SQLite database in memory, with a table for authors."""
    from tests.project.library.models import Author

    alias = extra_alias("memory", NAME=":memory:")
    with connections[alias].schema_editor() as editor:
        editor.create_model(Author)
    yield alias
    from onloop.db.backends.sqlite3 import base

    base._in_memory.pop((alias, ":memory:")).close()
    base._turns.pop((alias, ":memory:"))
