"""Runs Django REST framework's tests in this process: `python drf.py FOLDER tests`.

As `worker.py`, with pytest in the place of Django's runner. Its `conftest.py` configures the
settings; what they say of databases and apps is changed on the way. Sync views are on the loop:
those that tests call are in the bridge anyway, and so are those that clients ask for. With
`CONFORMANCE_HANDLER` the clients' requests go through Onloop's handler (`served.py`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import worker
from django.conf import LazySettings


class Recorder:
    """Tells `Events` of pytest's tests."""

    def __init__(self) -> None:
        from conformance import recorder

        self._of = recorder
        self._events = recorder.Events()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._events.start(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = self._of.PASSED
        if hasattr(report, "wasxfail"):
            expected = report.skipped
            outcome = self._of.EXPECTED_FAILURE if expected else self._of.UNEXPECTED_SUCCESS
        elif report.failed:
            outcome = self._of.FAILED if report.when == "call" else self._of.ERROR
        elif report.skipped:
            outcome = self._of.SKIPPED
        if outcome != self._of.PASSED:
            self._events.note(report.nodeid, outcome, report.longreprtext)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._events.end(nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._events.note(report.nodeid, self._of.ERROR, report.longreprtext)


class Engine(str):
    """The name of Onloop's engine, equal to that of Django's.

    The `conftest.py` compares it to see whether tests that need PostgreSQL can run.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) or other == self.replace("onloop", "django")

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def configure(self: LazySettings, *args: Any, **settings: Any) -> None:
    """Stand for `settings.configure`."""
    made = json.loads(os.environ["CONFORMANCE_DATABASES"])
    for database in made.values():
        database["ENGINE"] = Engine(database["ENGINE"])
    settings["DATABASES"] = {"default": made["default"], "secondary": made["other"]}
    if os.environ["CONFORMANCE_ENGINE"] == "onloop":
        settings["INSTALLED_APPS"] = ("onloop", *settings["INSTALLED_APPS"])
        settings["ONLOOP"] = {"SYNC_VIEWS": "loop"}
    _configure(self, *args, **settings)
    if served_by_onloop():
        from conformance.served import serve_client_by_onloop

        serve_client_by_onloop()


_configure = LazySettings.configure


def served_by_onloop() -> bool:
    """Whether the requests of the test clients are to go through Onloop's handler."""
    return os.environ["CONFORMANCE_ENGINE"] == "onloop" and bool(
        os.environ["CONFORMANCE_HANDLER"]
    )


def run(folder: Path, labels: list[str]) -> int:
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    LazySettings.configure = configure  # type: ignore[method-assign]
    without = ("cacheprovider", "asyncio", "anyio", "onloop", "timeout", "xdist")
    options = [option for name in without for option in ("-p", f"no:{name}")]
    plugins = [Recorder()]
    code = int(worker.here_or_in_a_bridge(pytest.main, [*options, *labels], plugins))
    if served_by_onloop():
        from conformance.served import ServedClientHandler

        assert ServedClientHandler.served, "no request went through Onloop's handler"
    return code


if __name__ == "__main__":
    sys.exit(run(*worker.started()) > pytest.ExitCode.TESTS_FAILED)
