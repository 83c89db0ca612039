"""The project whose tests are run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.users.bookshop import Bookshop


@pytest.fixture
def bookshop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bookshop]:
    """A new project of its own, on the database that this run is about."""
    place = None
    if request.config.getoption("db") == "postgresql":
        place = request.getfixturevalue("postgres").place
    site = Bookshop(tmp_path, place, "bookshop")
    yield site
    site.drop()
