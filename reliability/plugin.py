"""A pytest plugin for the soak: what became of each test, as lines of JSON.

`-p reliability.plugin` with ONLOOP_SOAK_OUTCOMES, the file. A line with the tests that were
collected, one for each test as it ends, and at the end one with the versions: so a file without
the last line tells of a run that was broken off, and in which test.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Generator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "ONLOOP_SOAK_OUTCOMES"
# What a test that failed is told by.
MOST_TOLD = 300


class Outcomes:
    """Writes the file; one for a run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told: dict[str, str] = {}
        self._outcomes: dict[str, str] = {}
        self._postgresql = ""

    def _write(self, **line: Any) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._write(collected=[item.nodeid for item in session.items])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(began=nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        yield
        databases = getattr(item, "funcargs", {}).get("database")
        if not self._postgresql and databases is not None and databases.kind == "postgresql":
            with databases.connect() as connection:
                number = connection.info.server_version
            self._postgresql = f"{number // 10_000}.{number % 10_000}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self._outcomes.get(report.nodeid, "passed")
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
            crash = getattr(report.longrepr, "reprcrash", None)
            told = crash.message if crash is not None else str(report.longrepr)
            self._told.setdefault(report.nodeid, told.strip()[:MOST_TOLD])
        elif report.skipped and before == "passed":
            # An expected failure is none of the outcomes that a soak knows.
            self._outcomes[report.nodeid] = "skipped"
        else:
            self._outcomes.setdefault(report.nodeid, "passed")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write(
            test=nodeid, outcome=self._outcomes[nodeid], told=self._told.get(nodeid, "")
        )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        versions = {"Python": platform.python_version()}
        for name, distribution in (
            ("Django", "Django"),
            ("psycopg", "psycopg"),
            ("uvloop", "uvloop"),
        ):
            versions[name] = metadata.version(distribution)
        versions["SQLite"] = sqlite3.sqlite_version
        if self._postgresql:
            versions["PostgreSQL"] = self._postgresql
        self._write(finished=int(exitstatus), versions=versions)


def pytest_configure(config: pytest.Config) -> None:
    if file := os.environ.get(VARIABLE):
        config.pluginmanager.register(Outcomes(Path(file)), "onloop-soak-outcomes")
