"""The loop of jobs in processes that have none: a command, the shell, WSGI.

It starts when something first needs it, and ends with the process, once its jobs are done.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from onloop.db.pools import draining
from onloop.loopthread import LoopOfProcess, LoopThread, Step
from onloop.tasks.errors import QueueClosed

logger = logging.getLogger("onloop.tasks")

NAME = "onloop-tasks"

# What is awaited on the loop before it ends: `drain(loop, timeout_s)`.
Drain = Callable[[asyncio.AbstractEventLoop, float | None], Coroutine[Any, Any, None]]

_own = LoopOfProcess(NAME, draining)
_drain: Drain | None = None
_is_over = False


def own_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of the process's own thread, which is started if it does not run.

    Raises `QueueClosed` when the process ends.
    """
    if _is_over:
        raise QueueClosed("The process ends, and takes no more jobs.")
    return _own.get().loop


def drain_by(drain: Drain) -> None:
    """Say what is awaited before the loop ends."""
    global _drain  # noqa: PLW0603 - one a process
    _drain = drain


def end_own_loop(timeout_s: float | None = None) -> None:
    """End the thread if it runs, after its jobs, which have `timeout_s` seconds; None: any."""
    if _own.made is not None:
        _own.end(_draining(_own.made, timeout_s))


def _draining(thread: LoopThread, timeout_s: float | None) -> Step:
    assert _drain is not None
    return functools.partial(_drain, thread.loop, timeout_s)


def _at_exit() -> None:
    """Wait for the jobs; Ctrl-C cancels them."""
    global _is_over  # noqa: PLW0603 - one a process
    _is_over = True
    own = _own.made
    if own is None:
        return
    try:
        logger.info("The process waits for its jobs to end; Ctrl-C cancels them.")
        own.end(_draining(own, None))
    except KeyboardInterrupt:
        own.end(_draining(own, 0))
        raise


# Before `concurrent.futures` refuses to run anything in threads, which jobs do: it has
# registered itself there already, and the last comes first. `atexit` would be too late.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
