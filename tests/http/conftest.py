"""Fixtures of the tests of `onloop.http`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
from django.test import override_settings

from onloop import http
from onloop.http import sync
from tests.http.upstream import Upstream

Configure = Callable[..., None]
T = TypeVar("T")

# Seconds that nobody runs into, unless something hangs: a test about one of them says so.
LONG_S = 120
CALM = {
    "BACKOFF": 0,
    "CIRCUIT_RESET": LONG_S,
    "CONNECT_TIMEOUT": LONG_S,
    "DEADLINE": LONG_S,
    "IDLE_TIMEOUT": LONG_S,
    "POOL_TIMEOUT": LONG_S,
    "READ_TIMEOUT": LONG_S,
    "WRITE_TIMEOUT": LONG_S,
}


async def with_deadlines(
    work: Callable[[float], Awaitable[T]], enough: Callable[[T], bool]
) -> T:
    """`work(seconds)` with a short deadline, and longer ones until what it gives is enough.

    A deadline that must come has to come after what must be done before, and how long that
    takes on a busy machine nobody knows.
    """
    for deadline_s in (0.3, 3.0, 40.0):
        found = await work(deadline_s)
        if enough(found):
            break
    return found


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that misbehaves on demand."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture
def configure() -> Iterator[Configure]:
    """`configure(RETRIES=0)`: settings of `ONLOOP["HTTP"]`, the others as in `CALM`."""
    with ExitStack() as stack:

        def set_(**settings: Any) -> None:
            given = {**CALM, **settings}
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
