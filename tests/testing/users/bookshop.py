"""A project in a folder of its own, whose tests are run as its developers run them.

What is in `site` is copied: an ordinary project, with modules of tests whose names keep them
out of our own suite. The databases of its tests are made and dropped by Django.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.postgres import Place

SITE = Path(__file__).parent / "site"
# A machine may have other things to do; a run that hangs says where, by its own time-outs.
RUN_TIMEOUT_S = 280
# Set by this suite or by a run around it, and no user's.
_NOT_HANDED_ON = ("DJANGO", "PYTEST", "ONLOOP", "PGAPPNAME", "BOOKSHOP")

_DJANGO_PROBLEM = re.compile(r"^(ERROR|FAIL): (\w+)", re.MULTILINE)
_DJANGO_RAN = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)
_PYTEST_PROBLEM = re.compile(r"^(FAILED|ERROR) \S+?::(\S+)", re.MULTILINE)
_PYTEST_SUMMARY = re.compile(r"^=+ (.*) in [\d.]+s.* =+$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """The end of a run: how many tests there were, and which went wrong, how."""

    output: str
    outcomes: Counter[str]
    problems: list[tuple[str, str]]


class Bookshop:
    """The project in `folder`, on SQLite or on the PostgreSQL server at `place`."""

    def __init__(self, folder: Path, place: Place | None, prefix: str) -> None:
        self.folder = folder
        self.place = place
        self.prefix = prefix
        shutil.copytree(SITE, folder, dirs_exist_ok=True)
        self.databases = {
            alias: self._database(f"{prefix}_{alias}") for alias in ("default", "other")
        }

    def _database(self, name: str) -> dict[str, Any]:
        if self.place is None:
            return {
                "ENGINE": "onloop.db.backends.sqlite3",
                "NAME": str(self.folder / f"{name}.sqlite3"),
            }
        return {
            "ENGINE": "onloop.db.backends.postgresql",
            "HOST": self.place.socket_dir,
            "PORT": self.place.port,
            "USER": self.place.parameters()["user"],
            "NAME": name,
        }

    def on_files(self) -> None:
        """Let SQLite's test databases be files, and not in memory."""
        for settings in self.databases.values():
            name = Path(settings["NAME"])
            settings["TEST"] = {"NAME": str(name.with_name(f"test_{name.name}"))}

    def manage_test(self, *arguments: str, **environment: str) -> Ran:
        """`manage.py test`."""
        output = self._run("manage.py", "test", *arguments, **environment)
        ran = _DJANGO_RAN.findall(output)
        assert ran, output
        problems = sorted((name, kind) for kind, name in _DJANGO_PROBLEM.findall(output))
        return Ran(output, Counter(ran=int(ran[-1])), problems)

    def pytest(self, *arguments: str, **environment: str) -> Ran:
        """pytest with pytest-django, and whatever else is installed."""
        output = self._run(
            *("-m", "pytest", "-rfEs", "-p", "no:cacheprovider"),
            *("-c", os.devnull, "--rootdir", str(self.folder)),
            *("-o", "DJANGO_SETTINGS_MODULE=bookshop.settings", "-o", "timeout=90"),
            # That a mark which stands at the top of a module is no sync test's.
            *("-W", "ignore:The test <Function:pytest.PytestWarning"),
            *arguments,
            **environment,
        )
        summary = _PYTEST_SUMMARY.findall(output)
        assert summary, output
        outcomes = Counter(
            {
                kind.removesuffix("s"): int(count)
                for count, kind in re.findall(r"(\d+) ([a-z]+)", summary[-1])
            }
        )
        problems = sorted((name, kind) for kind, name in _PYTEST_PROBLEM.findall(output))
        return Ran(output, outcomes, problems)

    def _run(self, *command: str, **environment: str) -> str:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_HANDED_ON)
        }
        paths = [str(self.folder), inherited.get("PYTHONPATH", "")]
        run = subprocess.run(
            [sys.executable, "-W", "error", *command],
            cwd=self.folder,
            env={
                **inherited,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "PYTHONDONTWRITEBYTECODE": "1",
                "BOOKSHOP_DATABASES": json.dumps(self.databases),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        return run.stdout + run.stderr

    def test_databases(self) -> list[str]:
        """The test databases that are there: none after a run that has ended well."""
        if self.place is None:
            found = self.folder.rglob("*.sqlite3*")
            return sorted(path.name for path in found)
        parameters = self.place.parameters(dbname="postgres")
        with psycopg.connect(**parameters, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1",
                [f"%{self.prefix}%"],
            ).fetchall()
        return [name for (name,) in rows]

    def drop(self) -> None:
        """Remove what a run that ended badly has left at the server."""
        if self.place is not None:
            parameters = self.place.parameters(dbname="postgres")
            with psycopg.connect(**parameters, autocommit=True) as connection:
                for name in self.test_databases():
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def assert_clean(ran: Ran, expected: dict[str, int], site: Bookshop) -> None:
    """All went as expected, nothing was complained of, and the databases are gone."""
    assert ran.problems == [], ran.output
    assert dict(ran.outcomes) == expected, ran.output
    assert "Warning" not in ran.output, ran.output
    assert site.test_databases() == [], ran.output
