"""Fixtures for tests that call the application in process."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import got_request_exception
from django.test import override_settings

from onloop import watchdog
from onloop.db import pools
from tests.asgi.client import Exchange
from tests.asgi.flows import Flows
from tests.database import TestDatabases


class Project:
    """The test project with the addresses of a test module: `urlpatterns` stands there.

    `project.get("/path/")` is an `Exchange` that has not begun. `configure` changes settings,
    and makes the application anew.
    """

    def __init__(self, urlconf: str, stack: ExitStack) -> None:
        self._stack = stack
        self._application: Any = None
        self.configure(ROOT_URLCONF=urlconf)

    def configure(self, **settings: Any) -> None:
        self._stack.enter_context(override_settings(**settings))
        self._application = None

    @property
    def application(self) -> Any:
        if self._application is None:
            from onloop.asgi import get_asgi_application

            self._application = get_asgi_application()
        return self._application

    def send(self, method: str, path: str, **kwargs: Any) -> Exchange:
        return Exchange(self.application, path, method=method, **kwargs)

    def get(self, path: str, **kwargs: Any) -> Exchange:
        return self.send("GET", path, **kwargs)

    def post(self, path: str, body: bytes | list[bytes] = b"", **kwargs: Any) -> Exchange:
        return self.send("POST", path, body=body, **kwargs)


@pytest.fixture
async def project(
    request: pytest.FixtureRequest, db_clean: TestDatabases
) -> AsyncIterator[Project]:
    """The application in process. Afterwards nothing of its requests is left."""
    before = asyncio.all_tasks()
    with ExitStack() as stack:
        yield Project(request.module.__name__, stack)
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    left = {task for task in tasks if not _is_the_tests_own(task)}
    assert not left, f"tasks are left: {left}"
    assert borrowed() == {}, "connections are still borrowed"


@pytest.fixture
def bare_project(request: pytest.FixtureRequest) -> Iterator[Project]:
    """The same for a test that only makes the application, or never gets that far."""
    with ExitStack() as stack:
        yield Project(request.module.__name__, stack)


@pytest.fixture
def limited(project: Project) -> Callable[..., Project]:
    """`limited(MAX_BODY=…)`: the project with these limits, without middleware."""

    def configure(**limits: Any) -> Project:
        # Without LOGGING_CONFIG: the application would set the levels again.
        project.configure(MIDDLEWARE=[], ONLOOP=limits, LOGGING_CONFIG=None)
        return project

    return configure


def _is_the_tests_own(task: asyncio.Task[Any]) -> bool:
    return task.get_name().startswith("pytest")


def borrowed() -> dict[str, int]:
    """How many connections of this loop's pools are out, by alias."""
    loop = asyncio.get_running_loop()
    out = {}
    for pool in pools.pools_of(loop):
        stats = pool.stats()
        if count := stats["pool_size"] - stats["pool_available"]:
            out[pool.name] = count
    return out


@pytest.fixture
def started_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that are started, whether or not they have ended since.

    The watchdog's is none of a request's; SQLite's come where a statement was slow, which the
    machine decides.
    """
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def recording(thread: threading.Thread) -> None:
        if not thread.name.startswith((watchdog.NAME, "onloop-sqlite")):
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", recording)
    return started


@pytest.fixture
def settings_with() -> Callable[..., list[str]]:
    """`settings_with("a.B")`: Django's seven middleware with others inside of them."""
    from tests.project.settings import MIDDLEWARE

    return lambda *inner: [*MIDDLEWARE, *inner]


@pytest.fixture
def exceptions() -> Iterator[list[BaseException | None]]:
    """What `got_request_exception` was sent for, as its receivers see it."""
    seen: list[BaseException | None] = []

    def receiver(**kwargs: Any) -> None:
        seen.append(sys.exc_info()[1])

    got_request_exception.connect(receiver)
    yield seen
    got_request_exception.disconnect(receiver)


@pytest.fixture
def flows(
    request: pytest.FixtureRequest,
    db_clean: TestDatabases,
    started_threads: list[threading.Thread],
    tmp_path: Path,
) -> Flows:
    """`await flows.compare(flow)`; the module has `urlpatterns`, `prepare` and `SETTINGS`."""
    module = request.module
    place = {"ROOT_URLCONF": module.__name__, "MEDIA_ROOT": tmp_path}
    return Flows(db_clean, started_threads, module.prepare, place | module.SETTINGS)
