"""The pytest plugin: fixtures `leak_ledger`, `cancel_sweep`, `forced_window`, `fault_proxy`.

It is loaded in every test run of an environment that has Onloop installed, so it imports
neither Django nor a driver, and does nothing to tests that use none of its fixtures.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onloop.testing import sessions
from onloop.testing.ledger import LeakLedger
from onloop.testing.proxy import FaultProxy
from onloop.testing.sweep import cancel_sweep
from onloop.testing.windows import ForcedWindow


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
