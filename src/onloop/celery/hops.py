"""What Celery does with a broker or a result backend blocks: in a bridge it hops into a thread.

There are few such threads in a process, made when they are needed. They carry the context of
who hops, so that what is sent from a task has that task as its parent.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from django.db import connections

from onloop import bridge
from onloop.bridge import await_
from onloop.waiting import settled

P = ParamSpec("P")
T = TypeVar("T")

# As many as Celery keeps connections to the broker by default (`broker_pool_limit`).
THREADS = 10

# Whose I/O is the ORM's: it waits on the loop already, and belongs into the task's own scope.
ORM_BACKENDS = ("django_celery_results.",)

_executor: ThreadPoolExecutor | None = None


def threads() -> ThreadPoolExecutor:
    """The threads of this process for Celery's I/O."""
    global _executor  # noqa: PLW0603 - made when it is needed, anew after a fork
    if _executor is None:
        _executor = ThreadPoolExecutor(THREADS, "onloop-celery-io")
    return _executor


def _forget() -> None:
    global _executor  # noqa: PLW0603 - the parent's threads are not in a forked child
    _executor = None


os.register_at_fork(after_in_child=_forget)


def hop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a thread while the caller's bridge waits; elsewhere, just call it.

    A thread cannot be cancelled, and what it sends is sent: a cancellation that arrives
    meanwhile is raised once the thread is done.
    """
    if not bridge.active():
        return function(*args, **kwargs)
    call = functools.partial(function, *args, **kwargs)
    context = contextvars.copy_context()
    done = asyncio.wrap_future(threads().submit(_call, context, call))
    await_(settled([done]))
    return done.result()


def _call(context: contextvars.Context, call: Callable[[], T]) -> T:
    """In the thread: leave no connection of Django's behind, which only it could use.

    Those of a block that the caller stands in are known in its context alone.
    """
    try:
        return context.run(call)
    finally:
        connections.close_all()


def hopping(function: Callable[P, T]) -> Callable[P, T]:
    """Let `function` hop where it is called in a bridge."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return hop(function, *args, **kwargs)

    return call


class HoppingBackend:
    """A result backend as code on the loop sees it: its methods hop.

    Celery has a backend for each thread; the one that is called is that of the thread which
    does the work.
    """

    def __init__(self, of_thread: Callable[[], Any]) -> None:
        self._of_thread = of_thread

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._of_thread(), name)
        return functools.partial(hop, self._call, name) if callable(value) else value

    def remove_pending_result(self, result: Any) -> Any:
        """What a result does when it goes: in a finaliser, where nothing may wait.

        On the loop nothing is to be done, as nobody there waits for results.
        """
        if not bridge.active():
            return self._of_thread().remove_pending_result(result)
        return result

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._of_thread(), name)(*args, **kwargs)


def waits_on_loop(backend: Any) -> bool:
    """Tell whether a result backend does its work by the ORM."""
    return type(backend).__module__.startswith(ORM_BACKENDS)
