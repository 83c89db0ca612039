"""Things that an event loop has one of, such as clients of other services, closed with it.

What is made for a loop is closed by the lifespan of the server (`close_all`), by whoever else
ends a loop in an orderly way, and at the latest when `asyncio.run` shuts the loop's async
generators down. What belongs to a loop that ended without any of these is forgotten: nothing
can be awaited for it any more.

This module must never import Django or a driver.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar

from onloop.errors import LoopRequired
from onloop.waiting import running_loop, settled

logger = logging.getLogger("onloop")

T = TypeVar("T")

Loop = asyncio.AbstractEventLoop

# Every thing that is open, in the order in which they were made, with what closes it.
_open: dict[Loop, dict[int, tuple[Any, Callable[[Any], Awaitable[None]]]]] = {}
_closers: dict[Loop, AsyncGenerator[None, None]] = {}


class PerLoop(Generic[T]):
    """One `T` for each event loop, made when it is first asked for.

    `name`: what it is, for errors. `make`: makes one, without waiting. `aclose`: closes it.
    `is_stale`: whether it must be replaced, as after a change of settings; it is then closed
    with the loop, since somebody may still use it, or forgotten if it `is_closed`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], T],
        aclose: Callable[[T], Awaitable[None]],
        *,
        is_stale: Callable[[T], bool] = lambda _: False,
        is_closed: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self._name = name
        self._make = make
        self._aclose = aclose
        self._is_stale = is_stale
        self._is_closed = is_closed
        self._made: dict[Loop, T] = {}
        _families.append(self)

    def get(self) -> T:
        """Return that of the running loop.

        Raises `onloop.errors.LoopRequired` where no loop runs.
        """
        loop = running_loop()
        if loop is None:
            raise LoopRequired(
                f"{self._name} belongs to an event loop, and none runs here. Call it in async "
                "code or in a bridge."
            )
        thing = self._made.get(loop)
        if thing is None or self._is_stale(thing):
            _sweep()
            if thing is not None and self._is_closed(thing):
                _open.get(loop, {}).pop(id(thing), None)
            thing = self._made[loop] = self._make()
            _open.setdefault(loop, {})[id(thing)] = thing, self._aclose
            _watch(loop)
        return thing

    def forget(self, loop: Loop) -> None:
        self._made.pop(loop, None)


_families: list[PerLoop[Any]] = []


async def close_all() -> None:
    """Close all things of the running loop, the last that was made first.

    It goes on to the next if one fails, which is logged. Cancelled, it raises when all are
    closed.
    """
    loop = asyncio.get_running_loop()
    things = _forget_loop(loop)
    if not things:
        return
    # In a task of its own: a cancellation of the caller does not leave half of them open.
    await settled([loop.create_task(_close(things))])


async def _close(things: list[tuple[Any, Callable[[Any], Awaitable[None]]]]) -> None:
    for thing, aclose in reversed(things):
        try:
            await aclose(thing)
        except Exception:
            logger.exception("%r could not be closed.", thing)


def _forget_loop(loop: Loop) -> list[tuple[Any, Callable[[Any], Awaitable[None]]]]:
    for family in _families:
        family.forget(loop)
    return list(_open.pop(loop, {}).values())


def _watch(loop: Loop) -> None:
    async def close() -> None:
        _closers.pop(loop, None)
        await _close(_forget_loop(loop))

    if loop not in _closers:
        _closers[loop] = before_loop_ends(close)


def before_loop_ends(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Have `close` awaited when the running loop shuts its async generators down.

    As `asyncio.run` does at its end. What is returned has to be kept until then.
    """
    closer = _suspended(close)
    try:
        closer.__anext__().send(None)  # up to its yield, without a wait: the loop knows it now
    except StopIteration:
        pass
    return closer


async def _suspended(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


def _sweep() -> None:
    for loop in [loop for loop in list(_open) if loop.is_closed()]:
        _closers.pop(loop, None)
        _forget_loop(loop)


def _after_fork() -> None:
    """In a forked child: its parent's connections are not its own, not even to close."""
    _inherited.append((dict(_open), dict(_closers)))
    for loop in list(_open):
        _forget_loop(loop)
    _closers.clear()


# What a fork took over; kept, because a finaliser would speak to the parent's servers.
_inherited: list[Any] = []
os.register_at_fork(after_in_child=_after_fork)
