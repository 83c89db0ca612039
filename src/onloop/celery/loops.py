"""The event loop of a worker's process: one, in a thread of its own, for as long as it lives.

In every pool of Celery an `async def` task runs on it: many at once under `onloop.celery:
TaskPool`, one for each slot in the others, where the slot's thread waits. A forked child makes
a new one.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals

from onloop import bridge, perloop, watchdog
from onloop.asgi.unit import in_unit
from onloop.celery.errors import SoftLimit
from onloop.celery.execution import Execution, Interruptible, awaited, current
from onloop.celery.explain import explain
from onloop.db.pools import drain_pools

T = TypeVar("T")
Make = Callable[[], Coroutine[Any, Any, T]]

logger = logging.getLogger("onloop.celery")

# Seconds in which the loop of a process ends, its pools drained, and in which a task that is
# cancelled with its slot ends.
CLOSE_S = 15.0
CANCEL_S = 10.0


class LoopThread:
    """An event loop in a daemon thread. Its methods are for other threads."""

    def __init__(self) -> None:
        started: Future[None] = Future()
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="onloop-celery-loop", daemon=True
        )
        self._thread.start()
        started.result()

    def _run(self, started: Future[None]) -> None:
        try:
            with asyncio.Runner() as runner:
                self.loop = runner.get_loop()
                runner.run(self._live(started))
        except BaseException as exc:
            if started.done():
                logger.critical("The event loop of the worker ended.", exc_info=exc)
            else:
                started.set_exception(exc)
            raise

    async def _live(self, started: Future[None]) -> None:
        self._stop = asyncio.Event()
        started.set_result(None)
        await self._stop.wait()
        await perloop.close_all()
        await bridge.run(drain_pools, self.loop)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function` called on the loop, in a context in which nothing is set.

        Raises `RuntimeError` if the loop has ended.
        """
        self.loop.call_soon_threadsafe(function, *args, context=contextvars.Context())

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Close its clients and pools, cancel what is left, and end.

        It is waited for `timeout_s` seconds; what then holds the loop is logged.
        """
        try:
            self.call(self._stop.set)
        except RuntimeError:
            return  # it has ended
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning(
                "The event loop did not end within %g s: a task holds it.", timeout_s
            )

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def run(self, make: Make[T]) -> T:
        """Run a task's coroutine to its end, as a unit of work; the calling thread waits.

        It runs in a copy of the caller's context. The soft time limit, which Celery raises in
        the calling thread of a prefork worker, is raised in the coroutine. Whatever else comes
        there cancels it, so that it rolls back.
        """
        execution = Execution()
        done: Future[T] = Future()
        self.loop.call_soon_threadsafe(self._begin, execution, make, done)
        while True:
            try:
                return done.result()
            except SoftTimeLimitExceeded as exc:
                if done.done():
                    raise
                self.call(execution.limit, SoftLimit(*exc.args))
            except BaseException:
                if not done.done():
                    self.call(execution.end)
                    _wait(done, CANCEL_S)
                raise

    def _begin(self, execution: Execution, make: Make[T], done: Future[T]) -> None:
        def over(task: asyncio.Task[None]) -> None:
            if not done.done():  # the loop was closed before it began
                done.set_exception(RuntimeError("The event loop of the worker has ended."))

        execution.task = self.loop.create_task(
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


def _wait(done: Future[Any], timeout_s: float) -> None:
    try:
        done.exception(timeout_s)
    except BaseException:  # noqa: BLE001 - what the caller raises is what counts
        pass


# --- the one of this process ------------------------------------------------------------------

_guard = threading.Lock()
_of_process: LoopThread | None = None


def worker_loop() -> LoopThread:
    """Return the loop of this process, from any thread but its own; it is made if need be."""
    global _of_process  # noqa: PLW0603 - one a process
    with _guard:
        if _of_process is None or not _of_process.is_alive:
            _of_process = LoopThread()
        return _of_process


def close_worker_loop(**kwargs: Any) -> None:
    """Close the loop of this process, and the pools of its connections."""
    global _of_process
    with _guard:
        closing, _of_process = _of_process, None
    if closing is not None:
        closing.close()


def _forget() -> None:
    """In a forked child: the thread is its parent's, and so is the loop."""
    global _guard, _of_process  # noqa: PLW0603 - another thread of the parent may hold it
    _guard = threading.Lock()
    _of_process = None


os.register_at_fork(after_in_child=_forget)
# The end of a prefork worker's child, and of any worker.
signals.worker_process_shutdown.connect(close_worker_loop, weak=False)
signals.worker_shutdown.connect(close_worker_loop, weak=False)
