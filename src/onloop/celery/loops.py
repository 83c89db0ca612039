"""The event loop of a worker's process: one, in a thread of its own, for as long as it lives.

In every pool of Celery an `async def` task runs on it: many at once under `onloop.celery:
TaskPool`, one for each slot in the others, where the slot's thread waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals

from onloop import bridge, watchdog
from onloop.asgi.lifespan import worker_lifespan
from onloop.asgi.unit import in_unit
from onloop.asgi.warm import load_http
from onloop.celery.errors import SoftLimit
from onloop.celery.execution import Execution, Interruptible, awaited, current
from onloop.celery.explain import explain
from onloop.db.pools import draining
from onloop.loopthread import LoopOfProcess, LoopThread

T = TypeVar("T")
Make = Callable[[], Coroutine[Any, Any, T]]

# Seconds in which the loop of a process ends, its pools drained, and in which a task that is
# cancelled with its slot ends.
CLOSE_S = 15.0
CANCEL_S = 10.0


def run(make: Make[T]) -> T:
    """Run a task's coroutine to its end, as a unit of work; the calling thread waits.

    It runs in a copy of the caller's context. The soft time limit, which Celery raises in the
    calling thread of a prefork worker, is raised in the coroutine. Whatever else comes there
    cancels it, so that it rolls back.
    """
    execution = Execution()
    done: Future[T] = Future()
    thread = worker_loop()
    is_begun = False
    try:
        thread.call(_begin, execution, make, done, context=contextvars.copy_context())
        is_begun = True
        while True:
            try:
                return done.result()
            except SoftTimeLimitExceeded as exc:
                if done.done():
                    raise
                _interrupt(thread, execution.limit, SoftLimit(*exc.args))
    except BaseException:
        if not done.done():
            # It may have begun though the call was broken off.
            _interrupt(thread, execution.end)
            if is_begun:
                _wait(done, CANCEL_S)
        raise


def _begin(execution: Execution, make: Make[T], done: Future[T]) -> None:
    def over(task: asyncio.Task[None]) -> None:
        if not done.done():  # the loop was closed before it began
            done.set_exception(RuntimeError("The event loop of the worker has ended."))

    execution.task = asyncio.get_running_loop().create_task(
        Interruptible(_serve(execution, make, done), execution)
    )
    execution.task.add_done_callback(over)


async def _serve(execution: Execution, make: Make[T], done: Future[T]) -> None:
    current.set(execution)
    try:
        with watchdog.serving(explain):
            result = await bridge.run(in_unit, awaited, make)
    except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to the waiting thread
        done.set_exception(exc)
    else:
        done.set_result(result)


def _interrupt(thread: LoopThread, function: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop ends, and cancels it
        thread.call(function, *args)


def _wait(done: Future[Any], timeout_s: float) -> None:
    try:
        done.exception(timeout_s)
    except BaseException:  # noqa: BLE001 - what the caller raises is what counts
        pass


# --- the one of this process ------------------------------------------------------------------

_is_worker = False


def _around() -> AbstractAsyncContextManager[None]:
    """A worker's loop has a lifespan, as a server's; that of eager tasks elsewhere has none."""
    return worker_lifespan() if _is_worker else draining()


_of_process = LoopOfProcess("onloop-celery-loop", _around)


def worker_loop() -> LoopThread:
    """Return the loop of this process, from any thread but its own; it is made if need be.

    Raises `onloop.asgi.lifespan.StartFailed` if a hook of `ONLOOP["LIFESPAN"]` fails then.
    """
    return _of_process.get()


def close_worker_loop(**kwargs: Any) -> None:
    """Close the loop of this process, its clients and the pools of its connections."""
    _of_process.end(timeout_s=CLOSE_S)


def _begin_worker(**kwargs: Any) -> None:
    """Load once, in a worker whose tasks are imported and before it forks, what they need."""
    global _is_worker  # noqa: PLW0603 - of this process and those that it forks
    _is_worker = True
    load_http()


signals.worker_init.connect(_begin_worker, weak=False)
# The end of a prefork worker's child, and of any worker.
signals.worker_process_shutdown.connect(close_worker_loop, weak=False)
signals.worker_shutdown.connect(close_worker_loop, weak=False)
