"""Where the caller runs: on the loop, in a bridge, in a thread of async code, or in none.

This module must never import Django or a driver.
"""

from __future__ import annotations

from typing import Literal

from asgiref.sync import SyncToAsync

from onloop import bridge
from onloop.taskfactory import bridge_tasks
from onloop.waiting import running_loop

Where = Literal["loop", "bridge", "thread", "sync"]


def where() -> Where:
    """Tell what kind of code the caller is.

    "bridge": on an event loop, inside a bridge of the current task: synchronous code may wait
    here. An `async def` view is awaited inside its request's bridge, so that is its answer too.
    "loop": on an event loop, outside a bridge. Only `await` may wait here.
    "thread": in a thread that works for async code: that of a synchronous view, one of
    asgiref's `sync_to_async`, one of `asyncio.to_thread` from inside a request or a scope.
    "sync": anything else, as far as can be told: WSGI, a command, the shell, a thread that was
    started by hand.
    """
    if running_loop() is not None:
        return "bridge" if bridge.active() else "loop"
    return "thread" if _works_for_a_loop() else "sync"


def is_async_context() -> bool:
    """Tell whether an event loop runs on the caller's thread, in a bridge or outside."""
    return running_loop() is not None


def _works_for_a_loop() -> bool:
    # The context of a request or a scope, and no loop: it was copied into this thread.
    if bridge_tasks.get():
        return True
    # asgiref notes here for whom its threads work, and asks the same. It never takes that
    # back: plain code in a thread of which `async_to_sync` made use finds a loop that is over.
    loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop is not None and loop.is_running()
