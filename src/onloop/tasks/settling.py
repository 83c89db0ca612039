"""Waiting for a task that must end, whatever happens to who waits."""

from __future__ import annotations

import asyncio
from typing import Any


async def settled(task: asyncio.Future[Any], timeout_s: float | None = None) -> bool:
    """Wait until `task` is done; a cancellation of the caller is kept until then.

    Returns False after `timeout_s` seconds without an end. The task's own error is not raised.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        rest_s = None if deadline is None else deadline - loop.time()
        if rest_s is not None and rest_s <= 0:
            break
        try:
            await asyncio.wait({task}, timeout=rest_s)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # no cycle of exception, traceback and this frame
    return task.done()
