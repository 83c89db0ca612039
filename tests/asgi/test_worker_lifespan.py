"""A lifespan that is cancelled or fails at any moment leaves what it has entered, in order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from django.db import connections

from onloop.asgi.lifespan import StartFailed, worker_lifespan
from tests.asgi.client import Lifespan
from tests.asgi.test_lifespan import open_connections

events: list[str] = []


def hook(name, error=None):
    @asynccontextmanager
    async def hook_():
        await asyncio.sleep(0)
        events.append(f"+{name}")
        try:
            yield
        finally:
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                events.append(f"-{name}")
                if error is not None:
                    raise error

    return hook_


a, b, c = hook("a"), hook("b"), hook("c")
broken = hook("broken", ZeroDivisionError("this one fails"))
torn = hook("torn", OSError("so does this"))


@asynccontextmanager
async def fails():
    raise LookupError("it cannot start")
    yield


@asynccontextmanager
async def hangs():
    events.append("hangs")
    await asyncio.Event().wait()
    yield


@pytest.fixture(autouse=True)
def project_(project):
    def configure(*names):
        events.clear()
        project.configure(ONLOOP={"LIFESPAN": [f"{__name__}.{name}" for name in names]})

    return configure


def in_order():
    """Those that were entered, after each was left in reverse order."""
    entered = [event[1:] for event in events if event[0] == "+"]
    left = [event[1:] for event in events if event[0] == "-"]
    assert left == entered[::-1]
    return entered


async def test_cancelled_at_any_moment_it_has_left_its_hooks(project_):
    project_("a", "b", "c")
    others = asyncio.all_tasks()

    async def work():
        async with worker_lifespan():
            events.append("works")
            await asyncio.sleep(0)

    seen = set()
    for turns in range(200):
        for more in (None, 0, 1, 2, 3, 5):
            events.clear()
            working = asyncio.create_task(work())
            for pause in (turns, more):
                if pause is not None:
                    for _ in range(pause):
                        await asyncio.sleep(0)
                    working.cancel()
            await asyncio.wait({working})
            assert working.cancelled() or working.result() is None
            seen.add((len(in_order()), working.cancelled()))
            assert asyncio.all_tasks() == others
            assert open_connections() == {}
        if not working.cancelled():
            break
    assert seen == {(0, True), (1, True), (2, True), (3, True), (3, False)}


async def test_no_failure_hides_another_when_it_is_cancelled(project_, caplog):
    project_("a", "broken", "torn", "hangs")

    async def work():
        async with worker_lifespan():
            raise AssertionError

    working = asyncio.create_task(work())
    while "hangs" not in events:
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert in_order() == ["a", "broken", "torn"]
    assert "this one fails" in caplog.text
    assert "so does this" in caplog.text


async def test_no_failure_hides_another_when_the_start_fails(project_, caplog):
    project_("a", "broken", "fails", "b")
    with pytest.raises(StartFailed, match=r"LookupError: it cannot start$"):
        async with worker_lifespan():
            raise AssertionError
    assert in_order() == ["a", "broken"]
    assert "this one fails" in caplog.text


async def test_no_failure_hides_another_at_the_end(project, project_, caplog):
    project_("a", "broken", "b", "torn")
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    assert await lifespan.shutdown() == {
        "type": "lifespan.shutdown.failed",
        "message": "OSError: so does this; ZeroDivisionError: this one fails",
    }
    assert in_order() == ["a", "broken", "b", "torn"]


async def test_hooks_are_left_when_what_comes_after_them_fails(project_, monkeypatch):
    project_("a", "b")
    monkeypatch.setitem(connections.settings, "nowhere", {"ENGINE": "tests.nowhere"})
    with pytest.raises(StartFailed, match="isn't an available database backend"):
        async with worker_lifespan():
            raise AssertionError
    assert in_order() == ["a", "b"]
