"""Steps of an HTTP client that a cancellation may end, but not leave half done.

httpcore cleans up under anyio's shields, which hold back cancellations of anyio's cancel scopes
and not those of `asyncio.Task.cancel()`. One of these in the middle of its cleaning up costs a
place in its pool for good. So each step runs in a task of its own: when the caller is
cancelled, the step is told through a cancel scope, and is waited for until it has cleaned up.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from onloop.http.errors import DeadlineExceeded

logger = logging.getLogger("onloop.http")

T = TypeVar("T")

# Seconds that a step may take to clean up once it was cancelled.
CLEAN_UP_S = 5.0


async def call(
    step: Callable[[], Awaitable[T]],
    *,
    ends_at: float | None = None,
    late: str = "The time is over.",
    undo: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Await `step()`, until `ends_at` (on `time.monotonic`'s clock) at the latest.

    `late`: what `DeadlineExceeded` says. If the caller is cancelled while the step succeeds,
    `undo` gets its result, which nobody else will.

    Raises `DeadlineExceeded`, and what `step` raises.
    """
    loop = asyncio.get_running_loop()
    scope = anyio.CancelScope()
    if ends_at is not None:
        scope.deadline = anyio.current_time() + max(ends_at - time.monotonic(), 0.0)
    abandoned = False

    async def run() -> T | None:
        with scope:
            result = await step()
            if not abandoned:
                return result
        if abandoned:
            if undo is not None and not scope.cancelled_caught:
                await undo(result)
            return None
        raise DeadlineExceeded(late)

    task = loop.create_task(run())
    try:
        await asyncio.wait({task})
    except BaseException as exc:
        abandoned = True
        scope.cancel()
        if task.done():  # at the same moment: the result is there, and nobody takes it
            task = loop.create_task(_undo(task, undo))
        task.add_done_callback(_retrieve)
        if isinstance(exc, asyncio.CancelledError):
            await _settle(task)
        raise
    return task.result()  # type: ignore[return-value]


async def _undo(
    task: asyncio.Task[Any], undo: Callable[[Any], Awaitable[object]] | None
) -> None:
    if undo is not None and not task.cancelled() and task.exception() is None:
        await undo(task.result())


async def finish(closing: Callable[[], Awaitable[object]]) -> None:
    """Await `closing()` to its end, even if the caller is cancelled meanwhile.

    Raises what it raises, and the cancellation at the end.
    """

    async def run() -> None:
        await closing()

    task = asyncio.get_running_loop().create_task(run())
    if isinstance(sys.exception(), GeneratorExit):
        # httpx cleans up in a coroutine that is being closed, where nothing can be awaited.
        task.add_done_callback(_retrieve)
        return
    if (cancelled := await _settle(task)) is not None:
        task.add_done_callback(_retrieve)
        raise cancelled
    task.result()


async def _settle(task: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Wait until `task` has ended; return the last cancellation that came meanwhile."""
    held: asyncio.CancelledError | None = None
    ends_at: float | None = None
    while not task.done():
        left = None if ends_at is None else ends_at - time.monotonic()
        if left is not None and left <= 0:
            logger.warning("%r does not end; it is left alone.", task)
            break
        try:
            await asyncio.wait({task}, timeout=CLEAN_UP_S if left is None else left)
        except asyncio.CancelledError as exc:
            held = exc
        if ends_at is None:
            ends_at = time.monotonic() + CLEAN_UP_S
    return held


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Whatever it raised belongs to a call that was cancelled."""
    if not task.cancelled():
        task.exception()
