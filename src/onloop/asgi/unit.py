"""One unit of work of a server: a request, or one message of a consumer.

It has a scope of its own, and a thread of its own if it needs one; when it ends, every
connection is back and the thread is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

from onloop.asgi.admission import Admission, admission_of
from onloop.bridge import await_
from onloop.db.scope import Scope

P = ParamSpec("P")
T = TypeVar("T")


def in_unit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a bridge, as a unit of work, and return what it returns."""
    return in_unit_of(admission_of(asyncio.get_running_loop()), function, *args, **kwargs)


def in_unit_of(
    admission: Admission, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """`in_unit`, for a caller who has the admission of the running loop at hand."""
    admission.arrive()  # the end of the process waits for it
    try:
        return in_own_scope(function, *args, **kwargs)
    finally:
        admission.depart()


def in_own_scope(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_unit`, for what the server does not count: a job, whose end others wait for."""
    scope = Scope.begin()
    # Not entered: inside another context it would do nothing, and the request before left
    # its own behind.
    threads = ThreadSensitiveContext()
    token = SyncToAsync.thread_sensitive_context.set(threads)
    try:
        try:
            return function(*args, **kwargs)
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            executor = SyncToAsync.context_to_thread_executor.pop(threads, None)
            if executor is not None:
                await_(_end_thread(executor))
    finally:
        scope.end()


async def _end_thread(executor: Executor) -> None:
    """End the unit's thread, and the connections that user code opened in it.

    What runs in `asgiref.sync.sync_to_async` has Django's stock connections. They are closed
    once the thread is free, also if nobody waits for it any more.
    """
    closing = executor.submit(connections.close_all)
    executor.shutdown(wait=False)
    await asyncio.shield(asyncio.wrap_future(closing))
