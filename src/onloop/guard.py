"""Django's async guard, with bridges let through.

`django.utils.asyncio.async_unsafe` refuses what would block where a loop is running, and asks
`get_running_loop` for it. Inside a bridge nothing blocks, so there it is told that there is
none. The variable DJANGO_ALLOW_ASYNC_UNSAFE stays the user's own; Onloop never sets it.

With `ONLOOP["IMPLICIT_IO"] = "raise"` it is as strict as Django's for `async def` code inside a
bridge: what waits has to be awaited there. Whether the caller is a coroutine stands in its call
stack, so that nobody pays for the setting who does not use it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.exceptions import SynchronousOnlyOperation
from greenlet import getcurrent

from onloop import bridge, conf

__all__ = [
    "SynchronousOnlyOperation",
    "get_running_loop",
    "lifted",
    "refuse_implicit",
]

_current_task = asyncio.current_task

_lifted: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "onloop_guard_lifted", default=False
)


def get_running_loop() -> asyncio.AbstractEventLoop:
    """Stand for `asyncio.get_running_loop` in `django.utils.asyncio`.

    Raises `RuntimeError`, as asyncio does, where no loop runs and inside a bridge, and
    `SynchronousOnlyOperation` with the cure where Django's guard would refuse.
    """
    here = getcurrent()
    # As `active()`, less a call: each query asks twice.
    if type(here) is bridge.Bridge and here.task is _current_task(here.loop):
        refuse_implicit()
        raise RuntimeError  # inside a bridge synchronous code may wait
    loop = asyncio.get_running_loop()
    if _lifted.get():
        raise RuntimeError("What is known not to wait may pass.")
    if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        return loop
    raise SynchronousOnlyOperation(
        "You cannot call this from an async context: this code runs on an event loop, outside "
        "a bridge, and would block it. Use the `a` methods (`await queryset.aget()`, `async "
        "for`), run synchronous code with `await onloop.bridge.run(function, ...)`, or open a "
        "scope (`async with onloop.scope():`) around the tasks that it is called in."
        f"{_of_other_handler()}"
    )


def _of_other_handler() -> str:
    """Return what else is to be said to a caller that Django's own handler serves."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname == "BaseHandler._get_response_async":
            return (
                " The request is served by Django's own handler: in asgi.py, import "
                "get_asgi_application from onloop.asgi, and all of it may wait."
            )
        frame = frame.f_back
    return ""


def refuse_implicit() -> None:
    """Refuse to wait for a coroutine in a bridge where `ONLOOP["IMPLICIT_IO"]` is "raise".

    Called by Django's guard, and where something is about to wait that the guard is not asked
    for. Raises `SynchronousOnlyOperation`, which names the place and the cure.
    """
    if conf.get().IMPLICIT_IO == "allow" or _lifted.get() or not bridge.active():
        return
    coroutine = _calling_coroutine()
    if coroutine is None or os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        return
    raise SynchronousOnlyOperation(
        f"You cannot call this from an async context: the coroutine {coroutine} would wait for "
        'the database without an `await`, and ONLOOP["IMPLICIT_IO"] is "raise". '
        "Use the `a` methods (`await queryset.aget()`, `await queryset.alist()`, `async for`, "
        "`await request.auser()`, `async with transaction.atomic():`), load relations "
        "beforehand with `select_related` or `prefetch_related`, or run synchronous code with "
        "`await onloop.bridge.run(function, ...)`."
    )


_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _calling_coroutine() -> str | None:
    """Return the name and place of the coroutine that called, not by `bridge.run` but directly.

    Not its frame: an exception that refers to one is in a cycle with it.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:  # up to the function that the bridge runs
        code = frame.f_code
        if code.co_flags & _COROUTINE:
            if code is bridge.run.__code__:
                return None
            return f"{code.co_qualname}() ({code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return None


@contextmanager
def lifted() -> Iterator[None]:
    """Let pass what is known not to wait, though it stands outside of a bridge."""
    token = _lifted.set(True)
    try:
        yield
    finally:
        _lifted.reset(token)
