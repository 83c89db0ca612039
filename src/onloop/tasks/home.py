"""Which event loop a job runs on, and the queues of the loops."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync

from onloop import metrics, phase
from onloop.asgi.lifespan import before_hooks_end
from onloop.db.scope import loop_of_thread
from onloop.tasks import ownloop
from onloop.tasks.errors import QueueClosed
from onloop.tasks.jobqueue import JobQueue
from onloop.tasks.options import Options
from onloop.waiting import running_loop

_guard = threading.Lock()
_queues: dict[asyncio.AbstractEventLoop, dict[str, JobQueue]] = {}


def loop_for_jobs() -> asyncio.AbstractEventLoop:
    """The server's loop, if there is one; else the caller's; else that of a thread of its own.

    A loop that asgiref makes for a single call (`async_to_sync` in a command, an `async def`
    view under WSGI) does not count: it would be gone before the job.
    """
    loop = running_loop() or loop_of_thread() or _loop_of_asgiref()
    if loop is not None and phase.has_lifespan(loop):
        return loop
    serving = phase.serving_loop()
    if serving is not None:
        return serving
    if loop is not None and loop not in AsyncToSync.loop_thread_executors:
        return loop
    return ownloop.own_loop()


def _loop_of_asgiref() -> asyncio.AbstractEventLoop | None:
    """The loop for which a thread of asgiref's works."""
    loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop if loop is not None and loop.is_running() else None


def queue_of(loop: asyncio.AbstractEventLoop, alias: str, options: Options) -> JobQueue:
    """Return the queue of a backend on `loop`. Raises `QueueClosed` when that loop ends."""
    with _guard:
        for closed in [other for other in _queues if other.is_closed()]:
            del _queues[closed]
        queues = _queues.setdefault(loop, {})
        queue = queues.get(alias)
        if queue is not None and queue.closed and loop is phase.serving_loop():
            queue = None  # a server's lifespan has begun anew on the same loop
        if queue is None:
            if phase.phase_of(loop) == "stopping":
                raise QueueClosed("The server is shutting down, and takes no more jobs.")
            queue = queues[alias] = JobQueue(loop, options)
        return queue


async def drain_loop(loop: asyncio.AbstractEventLoop, timeout_s: float | None) -> None:
    """Drain all queues of the running loop, each within `timeout_s` seconds; None: any time."""
    await _drain(dict.fromkeys(_queues.get(loop, {}).values(), timeout_s))


async def _drain_at_shutdown() -> None:
    queues = _queues.get(asyncio.get_running_loop(), {}).values()
    await _drain({queue: queue.options.drain_s for queue in queues})


async def _drain(timeouts_s: dict[JobQueue, float | None]) -> None:
    try:
        await asyncio.gather(*(queue.drain(rest_s) for queue, rest_s in timeouts_s.items()))
    finally:
        for queue in timeouts_s:  # of which a cancellation may have left some undrained
            queue.close(can_run=True)


def _read() -> list[dict[str, Any]]:
    with _guard:
        queues = [
            (alias, queue)
            for loop, mine in _queues.items()
            for alias, queue in mine.items()
            if not (queue.closed or loop.is_closed())
        ]
    return [{"backend": alias, **queue.stats()} for alias, queue in queues]


metrics.source("tasks", _read)


def _forget() -> None:
    """In a forked child: the loops are its parent's."""
    global _guard  # noqa: PLW0603 - a thread of the parent may have held it
    _guard = threading.Lock()
    _queues.clear()


before_hooks_end(_drain_at_shutdown)
ownloop.drain_by(drain_loop)
os.register_at_fork(after_in_child=_forget)
