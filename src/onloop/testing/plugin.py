"""The pytest plugin: fixtures `leak_ledger`, `cancel_sweep`, `forced_window`, `fault_proxy`.

It is loaded in every test run of an environment that has Onloop installed, so it imports
neither Django nor a driver, and does nothing to tests that use none of its fixtures, except
where pytest-django gives them a database: those it makes as they are in Django's `TestCase`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from onloop import bridge, taskfactory
from onloop.testing import sessions
from onloop.testing.ledger import LeakLedger
from onloop.testing.proxy import FaultProxy
from onloop.testing.sweep import cancel_sweep
from onloop.testing.windows import ForcedWindow

# --- tests to which pytest-django gives a database --------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Let SQLite's test databases be in memory in processes of pytest-xdist too.

    Without a name for it, Django's test database is in memory. pytest-django knows that of the
    engine `django.db.backends.sqlite3`, and makes up a path that does not exist for others.
    """
    if sessions.active():
        sessions.name_memory_databases()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run an async test in a bridge, as Django's runner does by way of `async_to_sync`.

    Lazy relations, the synchronous test client and async callbacks of `on_commit` work there.
    """
    function = getattr(item, "obj", None)
    if not (
        inspect.iscoroutinefunction(function) and _has_database(item) and sessions.active()
    ):
        return (yield)
    item.obj = _bridged(function)  # type: ignore[attr-defined]
    try:
        return (yield)
    finally:
        item.obj = function  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Free what a test that was broken off holds, before pytest-django empties the tables."""
    if _has_database(item) and sessions.active():
        sessions.end_stranded()


def _has_database(item: pytest.Item) -> bool:
    """Tell whether pytest-django gives the test a database."""
    names = getattr(item, "fixturenames", ())
    return (
        item.get_closest_marker("django_db") is not None
        or not {"db", "transactional_db", "live_server"}.isdisjoint(names)
    ) and item.config.pluginmanager.hasplugin("django")


def _bridged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def bridged(*args: Any, **kwargs: Any) -> Any:
        taskfactory.install_task_factory(asyncio.get_running_loop())
        token = taskfactory.bridge_tasks.set(True)
        try:
            return await bridge.run(bridge.await_, function(*args, **kwargs))
        finally:
            taskfactory.bridge_tasks.reset(token)

    return bridged


# --- fixtures ---------------------------------------------------------------------------------


@pytest.fixture
def leak_ledger(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LeakLedger]:
    """A `LeakLedger` around the test function: it fails a test that leaves something behind.

    What other fixtures hold is not the test's. In an `async def` test the loop goes on while
    the ledger waits for things to go. Temporary files go to a folder of the test's own
    meanwhile, so that those of other processes are not taken for its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="onloop-ledger-"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ledger = LeakLedger(temp_prefixes=("",), temp_folder=folder)
    item = request.node
    item.obj = _audited(item.obj, ledger)
    yield ledger
    shutil.rmtree(folder, ignore_errors=True)


def _audited(function: Callable[..., Any], ledger: LeakLedger) -> Callable[..., Any]:
    """Put `ledger` around a test function, whichever plugin runs it."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def audited_async(*args: Any, **kwargs: Any) -> None:
            async with ledger:
                await function(*args, **kwargs)

        return audited_async

    @functools.wraps(function)
    def audited(*args: Any, **kwargs: Any) -> None:
        with ledger:
            function(*args, **kwargs)

    return audited


@pytest.fixture(name="cancel_sweep")
def _cancel_sweep() -> Callable[..., Any]:
    """`await cancel_sweep(scenario, check=...)`: see `onloop.testing.cancel_sweep`."""
    return cancel_sweep


@pytest.fixture
def forced_window() -> Iterator[ForcedWindow]:
    """`async with forced_window.at("package.module.function", before=True) as window`."""
    windows = ForcedWindow()
    yield windows
    windows.close()


@pytest.fixture
def fault_proxy() -> Iterator[FaultProxy]:
    """A `FaultProxy` to the PostgreSQL server of Django's `default` database.

    `with fault_proxy.in_front_of("default"):` sends Django's connections through it. The test
    is skipped where `default` is no PostgreSQL.
    """
    if not sessions.active() or "default" not in sessions.postgresql_aliases():
        pytest.skip("the database `default` is no PostgreSQL, which `fault_proxy` is for")
    from django.db import connections  # noqa: PLC0415 - there are settings

    settings = connections.settings["default"]
    with FaultProxy(settings["HOST"] or "localhost", settings["PORT"] or 5432) as proxy:
        yield proxy
