"""Fixtures for tests of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.storage import storages
from django.test import override_settings

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
    """The folder of the default storage, empty and with nothing but itself above it."""
    folder = tmp_path / "site" / "media"
    folder.mkdir(parents=True)
    with override_settings(MEDIA_ROOT=str(folder), MEDIA_URL="/media/"):
        storages._storages.pop("default", None)
        yield folder
    storages._storages.pop("default", None)

    """The threads in which `Noting` was read."""
    return []


def here() -> int:
    return threading.get_ident()
