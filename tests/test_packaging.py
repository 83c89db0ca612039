"""What an installer, a type checker and an import see of the distribution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

import onloop
from tests.postgres import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported_by(statement: str) -> set[str]:
    """The modules of a fresh process after `statement`, without any settings."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("DJANGO")
    }
    result = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_version_is_the_same_everywhere():
    assert onloop.__version__ == PROJECT["version"] == version("django-onloop")


def test_types_are_shipped():
    assert (Path(onloop.__file__).parent / "py.typed").is_file()


def test_the_extras_have_the_names_that_are_documented():
    extras = metadata("django-onloop").get_all("Provides-Extra")
    assert set(extras or ()) == {
        "postgresql",
        "channels",
        "redis",
        "celery",
        "http",
        "aiohttp",
        "tasks",
        "uvicorn",
        "dev",
    }


def test_every_extra_requires_something():
    requirements = metadata("django-onloop").get_all("Requires-Dist") or []
    for extra in metadata("django-onloop").get_all("Provides-Extra") or []:
        assert [line for line in requirements if re.search(rf"extra == .{extra}\b", line)]


def test_ci_runs_every_version_that_a_classifier_claims():
    script = (ROOT / ".ci" / "run").read_text()
    claimed = "\n".join(PROJECT["classifiers"])
    pythons = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", claimed, re.MULTILINE)
    djangos = re.findall(r"^Framework :: Django :: (\d\.\d)$", claimed, re.MULTILINE)
    assert pythons
    assert djangos
    assert set(pythons) == set(re.findall(r"find_python (3\.\d+)", script))
    assert set(djangos) == set(re.findall(r"\bDJANGO=(\d\.\d)", script))


def test_importing_onloop_loads_neither_the_orm_nor_a_driver():
    loaded = imported_by("import onloop")
    assert not loaded & {"django.db", "django.apps", "psycopg", "sqlite3"}


@pytest.mark.parametrize("module", ["onloop.bridge", "onloop.errors", "onloop.waiting"])
def test_the_lowest_layers_work_without_django(module):
    assert not [name for name in imported_by(f"import {module}") if name.startswith("django")]


@pytest.mark.parametrize("name", onloop.__all__)
def test_every_exported_name_is_there_without_settings(name):
    imported_by(f"from onloop import {name}")
