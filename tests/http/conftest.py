"""Fixtures of the tests of `onloop.http`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.test import override_settings

from onloop import http
from onloop.http import sync
from tests.http.upstream import Upstream

Configure = Callable[..., None]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that misbehaves on demand."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture
def configure() -> Iterator[Configure]:
    """`configure(RETRIES=0)`: settings of `ONLOOP["HTTP"]`; retries come at once by default."""
    with ExitStack() as stack:

        def set_(**settings: Any) -> None:
            given = {"BACKOFF": 0, **settings}
            stack.enter_context(override_settings(ONLOOP={"HTTP": given}))

        set_()
        yield set_


@pytest.fixture
async def closing(upstream: Upstream) -> AsyncIterator[None]:
    """What a test has opened is closed before its server."""
    yield
    await http.aclose()


@pytest.fixture
def no_portal() -> Iterator[None]:
    """The thread for synchronous code is not there before, and is ended after the test."""
    sync.close()
    yield
    sync.close()
