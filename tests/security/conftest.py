"""Fixtures for attacks on the application in process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings


@pytest.fixture
def application(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """`application(**settings)`: with the addresses of the test module, without middleware."""
    from onloop.asgi import incoming

    monkeypatch.setattr(incoming, "LINGER_S", 0.05)  # nobody reads here
    with ExitStack() as stack:

        def make(**settings: Any) -> Any:
            from onloop.asgi import get_asgi_application

            importlib.import_module(request.module.__name__)
            stack.enter_context(
                override_settings(
                    ROOT_URLCONF=request.module.__name__, MIDDLEWARE=[], **settings
                )
            )
            return get_asgi_application()

        yield make


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Path]:
    """Where uploaded files are for as long as a request; empty again at the end."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    with override_settings(FILE_UPLOAD_TEMP_DIR=str(folder)):
        yield folder
    assert list(folder.iterdir()) == [], "files are left"
