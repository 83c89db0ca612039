"""Fixtures for tests of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.test import override_settings

from tests.asgi.conftest import project  # noqa: F401 - a fixture
from tests.files import saving
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


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def disk(root):
    return FileSystemStorage(root)


@pytest.fixture(
    params=[saving.by_wrapper, saving.in_bridge, saving.by_private_method],
    ids=lambda way: way.__name__,
)
def asave(request):
    return request.param


@pytest.fixture
def uploads_in(root):
    """Let uploads be in another folder, of another file system."""
    with override_settings():

        def put_into(folder):
            if not Path(folder).is_dir() or Path(folder).stat().st_dev == root.stat().st_dev:
                pytest.skip(f"{folder} is no other file system")
            settings.FILE_UPLOAD_TEMP_DIR = folder

        yield put_into
