"""Another task that has what a test waits for, and a pool that one task can exhaust."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from django.db import connections

import onloop
from onloop import bridge
from tests.database import close_pools

SINGLE = "single"


@contextlib.contextmanager
def alias_with_one_connection() -> Iterator[str]:
    """The database `default` once more, as the alias `single` with a pool of one connection."""
    connections.settings[SINGLE] = copy.deepcopy(connections.settings["default"])
    connections.settings[SINGLE]["OPTIONS"] = {"pool": {"max_size": 1}}
    try:
        yield SINGLE
    finally:
        close_pools()
        connections[SINGLE].close()
        del connections[SINGLE]
        del connections.settings[SINGLE]


@contextlib.asynccontextmanager
async def connection_of(alias: str) -> AsyncIterator[None]:
    """Hold the connection of this scope."""
    await bridge.run(connections[alias].ensure_connection)
    yield
    await bridge.run(connections[alias].close)


class Holder:
    """A task that stays in `block()`, in a scope of its own, until it is told to go on."""

    def __init__(self, block: Callable[[], Any]) -> None:
        self._block = block
        self._go_on = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Returns when the task is in its block."""
        inside = asyncio.Event()
        self._go_on = asyncio.Event()

        async def hold() -> None:
            async with onloop.scope(), self._block():
                inside.set()
                await self._go_on.wait()

        self._task = asyncio.create_task(hold())
        await inside.wait()

    def let_go_soon(self) -> None:
        """Let it go on a few iterations of the loop later, when the caller waits for it."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, loop.call_soon, self._go_on.set)

    async def end(self) -> None:
        """Let it go on, and wait until it has ended."""
        self._go_on.set()
        assert self._task is not None
        await self._task
