"""Fixtures: projects to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devserver import site


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that no test changes."""
    return site.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A project of the test's own."""
    return site.copy(made, tmp_path)
