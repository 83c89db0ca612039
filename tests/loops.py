"""The event loops that the bridge's own tests run on, and what those tests look at.

`runner` is an `asyncio.Runner`; a test that takes it is an ordinary function that gives a
coroutine to `runner.run`, and runs once for each kind of loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from onloop.bridge import Bridge
from onloop.taskfactory import bridge_tasks, install_task_factory

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def eager_task(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """`asyncio.eager_task_factory`, which takes uvloop's arguments only from 3.13.3 on."""
    return asyncio.Task(coro, loop=loop, **(kwargs | {"eager_start": True}))


def _eager(name: str) -> asyncio.AbstractEventLoop:
    loop = LOOPS[name]()
    loop.set_task_factory(eager_task if name == "uvloop" else asyncio.eager_task_factory)
    return loop


# Eager tasks came with Python 3.12.
EAGER = {
    f"{name}-eager": functools.partial(_eager, name)
    for name in LOOPS
    if hasattr(asyncio, "eager_task_factory")
}
FACTORIES = LOOPS | EAGER


@pytest.fixture(params=FACTORIES)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """A runner of each loop, with eager tasks too where Python has them.

    When the test is over no bridge may be suspended any more.
    """
    with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
        yield runner
    assert suspended_bridges() == []


@pytest.fixture
def bridged(runner: asyncio.Runner) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine as `runner.run` does, in a context that wants its tasks bridged."""

    def run(coro: Coroutine[Any, Any, Any]) -> Any:
        context = contextvars.copy_context()
        context.run(bridge_tasks.set, True)
        install_task_factory(runner.get_loop())
        return runner.run(coro, context=context)

    return run


@pytest.fixture(params=LOOPS)
def bare_loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of each kind that the test itself runs, leaves alone, and may close."""
    loop = LOOPS[request.param]()
    yield loop
    if not loop.is_closed():
        loop.close()
    assert suspended_bridges() == []


def suspended_bridges() -> list[Bridge]:
    """Bridges that have begun and have not ended, in whatever thread: greenlets that leak."""
    if _suspended():
        gc.collect()  # what nobody holds any more is only late
    return _suspended()


def _suspended() -> list[Bridge]:
    bridges = [thing for thing in gc.get_objects() if type(thing) is Bridge]
    return [b for b in bridges if b and not b.dead and not b.finished]


async def steps(count: int = 3) -> None:
    """Let the other tasks go on for a few iterations of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks go on until `condition` holds, whatever number of steps it takes."""
    while not condition():
        await asyncio.sleep(0)


async def wait_for_thread(event: threading.Event) -> None:
    """Wait for a thread to set `event`, without holding the loop."""
    done: Awaitable[bool] = asyncio.get_running_loop().run_in_executor(None, event.wait, 20)
    assert await done
