"""Fixtures for tests of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from tests.asgi.conftest import project  # noqa: F401 - a fixture
from tests.files.fifo import Fifo


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    pipe = Fifo(tmp_path / "pipe")
    yield pipe
    pipe.close()
    if not pipe.file.closed:
        pipe.file.close()


@pytest.fixture
def media(tmp_path: Path) -> Iterator[Path]:
    """The folder of the default storage, empty."""
    folder = tmp_path / "site" / "media"
    folder.mkdir(parents=True)
    with override_settings(MEDIA_ROOT=str(folder), MEDIA_URL="/media/"):
        yield folder
