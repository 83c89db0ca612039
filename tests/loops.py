"""The event loops that the bridge's own tests run on, and what those tests look at.

`runner` is an `asyncio.Runner`; a test that takes it is an ordinary function that gives a
coroutine to `runner.run`, and runs once for each kind of loop.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from onloop.bridge import Bridge

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
EAGER = hasattr(asyncio, "eager_task_factory")  # Python 3.12


def _eager(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


FACTORIES = dict(LOOPS)
if EAGER:
    FACTORIES |= {
        f"{name}-eager": functools.partial(_eager, new_loop) for name, new_loop in LOOPS.items()
    }


@pytest.fixture(params=FACTORIES)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """A runner of each loop, with eager tasks too where Python has them.

    When the test is over no bridge may be suspended any more.
    """
    with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
        yield runner
    assert suspended_bridges() == []


@pytest.fixture(params=LOOPS)
def bare_loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of each kind that the test itself runs, leaves alone, and may close."""
    loop = LOOPS[request.param]()
    yield loop
    if not loop.is_closed():
        loop.close()
    assert suspended_bridges() == []


def suspended_bridges() -> list[Bridge]:
    """Bridges that have begun, have not ended, and are not running: greenlets that leak."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is Bridge and thing]


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
