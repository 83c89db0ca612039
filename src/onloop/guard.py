"""Django's async guard, with bridges let through.

`django.utils.asyncio.async_unsafe` refuses what would block where a loop is running, and asks
`get_running_loop` for it. Inside a bridge nothing blocks, so there it is told that there is
none. The variable DJANGO_ALLOW_ASYNC_UNSAFE stays the user's own; Onloop never sets it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import SynchronousOnlyOperation

from onloop import bridge

__all__ = ["SynchronousOnlyOperation", "get_running_loop", "lifted"]

_lifted: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "onloop_guard_lifted", default=False
)


def get_running_loop() -> asyncio.AbstractEventLoop:
    """Stand for `asyncio.get_running_loop` in `django.utils.asyncio`.

    Raises `RuntimeError`, as asyncio does, where no loop runs and inside a bridge, and
    `SynchronousOnlyOperation` with the cure where Django's guard would refuse.
    """
    loop = asyncio.get_running_loop()
    if bridge.active() or _lifted.get():
        raise RuntimeError("Inside a bridge synchronous code may wait.")
    if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        return loop
    raise SynchronousOnlyOperation(
        "You cannot call this from an async context: this code runs on an event loop, outside "
        "a bridge, and would block it. Use the `a` methods (`await queryset.aget()`, `async "
        "for`), run synchronous code with `await onloop.bridge.run(function, ...)`, or open a "
        "scope (`async with onloop.scope():`) around the tasks that it is called in."
    )


@contextmanager
def lifted() -> Iterator[None]:
    """Let pass what is known not to wait, though it stands outside of a bridge."""
    token = _lifted.set(True)
    try:
        yield
    finally:
        _lifted.reset(token)
