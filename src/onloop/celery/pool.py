"""The worker pool for many tasks at once on one event loop.

`CELERY_CUSTOM_WORKER_POOL=onloop.celery:TaskPool celery -A mysite worker --pool custom
--concurrency 200`: Celery's hook for pools of others. The loop has a thread of its own;
Celery's consumer, which talks to the broker, keeps the main one.
"""

from __future__ import annotations

import inspect
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import iscoroutinefunction
from celery.concurrency.base import BasePool
from kombu.asynchronous import get_event_loop
from kombu.message import Message

from onloop import conf
from onloop.celery.jobs import Job
from onloop.celery.line import Line
from onloop.celery.loops import CANCEL_S, close_worker_loop, worker_loop
from onloop.celery.waker import Waker

logger = logging.getLogger("onloop.celery")

# Seconds between two looks of a warm shutdown at Celery's timers and acknowledgements.
TEND_S = 0.2


class TaskPool(BasePool):  # type: ignore[misc]
    """Runs `async def` tasks on the loop, and others in threads or where their marks say.

    `limit` is Celery's `--concurrency`: so many tasks run at once.
    """

    limit: int
    body_can_be_buffer = True
    # Stopping waits for tasks, which a signal handler must not.
    signal_safe = False

    _line: Line | None = None

    def on_start(self) -> None:
        threads = conf.get().TASK_THREADS
        self._threads = ThreadPoolExecutor(threads, "onloop-celery-task")
        self._loop = worker_loop()
        self._line = Line(self._loop.loop, self._threads, limit=self.limit, threads=threads)
        self._quiet: set[str] = set()
        self._waker = Waker()
        self._has_hub = False
        if others := [task.name for task in self._tasks() if is_lost(task)]:
            logger.error(
                "These tasks are `async def`, and not of the class that runs them: %s. Write "
                'Celery(..., task_cls="onloop.celery:Task"), or derive their `base` from '
                "onloop.celery.Task.",
                ", ".join(sorted(others)),
            )

    def register_with_event_loop(self, loop: Any) -> None:
        """Called by Celery with its own loop, if the broker has one that does not block."""
        self._has_hub = True
        self._waker.register(loop)

    def on_apply(
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: Any = None,
        timeout_callback: Any = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> Job:
        """Take a message, whose task is named by the first of `args`; never waits."""
        task = self._task_of(args)
        job = Job(
            name=str(args[0]) if task is not None else repr(target),
            on_loop=task is not None and task.place != "thread",
            target=target,
            args=tuple(args),
            kwargs=kwargs or {},
            on_accepted=accept_callback or _nothing,
            on_success=callback or _nothing,
            on_failure=error_callback or _nothing,
            on_timeout=timeout_callback or _nothing,
            quick=self._has_hub and not _sends_events(accept_callback),
            told=self._waker.wake,
            soft_limit=soft_timeout or self.options.get("soft_timeout"),
            limit=timeout or self.options.get("timeout"),
        )
        if not job.on_loop and (job.limit or job.soft_limit) and job.name not in self._quiet:
            self._quiet.add(job.name)
            logger.warning(
                "The time limits of task %s do not hold: it is synchronous and runs in a "
                "thread, which cannot be stopped. Make it `async def`, or give it a worker "
                "with the prefork pool.",
                job.name,
            )
        self._loop.call(self._open_line.add, job)
        return job

    def _tasks(self) -> list[Any]:
        return list(self.app.tasks.values()) if self.app is not None else []

    def _task_of(self, args: Any) -> Any:
        """The task, if it is of a class that knows its place."""
        name = args[0] if args and isinstance(args[0], str) else None
        task = self.app.tasks.get(name) if self.app is not None and name else None
        return task if hasattr(task, "place") else None

    @property
    def _open_line(self) -> Line:
        assert self._line is not None, "the pool has not been started"
        return self._line

    def terminate_job(self, pid: int, signal: object = None) -> None:
        """Cancel the job that was accepted with this number; its message is Celery's affair."""
        if self._line is not None:
            self._line.stop(pid)

    def flush(self) -> None:
        """The connection to the broker was lost: it sends what has not begun to somebody."""
        if self._line is not None:
            self._loop.call(self._line.drop_waiting)

    # --- the end ------------------------------------------------------------------------------

    def on_stop(self) -> None:
        """Wait until what runs has ended: a warm shutdown, or what is left of a cold one."""
        line = self._line
        if line is None:
            return
        self._loop.call(line.close)
        logger.info(
            "The worker stops when its %d tasks have ended; %d have not begun, and are left "
            "to others.",
            line.running,
            line.waiting,
        )
        while not line.idle.wait(TEND_S):
            tend()
        self._end()

    def on_terminate(self) -> None:
        """Cancel what runs, and let it roll back, for `CANCEL_S` seconds."""
        line = self._line
        if line is None:
            return
        self._loop.call(line.close)
        self._loop.call(line.stop_all)
        deadline = time.monotonic() + CANCEL_S
        while not line.idle.wait(TEND_S) and time.monotonic() < deadline:
            tend()
        if not line.idle.is_set():
            logger.warning(
                "%d tasks did not end within %g s after they were cancelled.",
                line.running,
                CANCEL_S,
            )
        self._end()

    def _end(self) -> None:
        if self._line is not None:
            self._line = None
            self._threads.shutdown(wait=False, cancel_futures=True)
            close_worker_loop()
            self._waker.close()

    # --- how many -----------------------------------------------------------------------------

    def grow(self, n: int = 1) -> None:
        self.limit += n
        self._loop.call(self._open_line.resize, n)

    def shrink(self, n: int = 1) -> None:
        self.limit -= n
        self._loop.call(self._open_line.resize, -n)

    @property
    def num_processes(self) -> int:
        """By Celery's name for it: how many tasks run at once, for its prefetch count."""
        return self.limit

    def _get_info(self) -> dict[str, Any]:
        line = self._line
        return {
            **super()._get_info(),
            "running": line.running if line else 0,
            "waiting": line.waiting if line else 0,
            "threads": line.threads if line else 0,
        }


def is_lost(task: Any) -> bool:
    """Tell whether a task is `async def`, and nobody would await it."""
    return not hasattr(task, "place") and iscoroutinefunction(inspect.unwrap(task.run))


def _nothing(*args: Any) -> None:
    pass


def _sends_events(callback: Any) -> bool:
    """Whether Celery tells the broker of it (`-E`), which blocks."""
    eventer = getattr(getattr(callback, "__self__", None), "eventer", None)
    return bool(eventer and eventer.enabled)


def tend() -> None:
    """Do for Celery's own loop what cannot wait for the end of the tasks.

    It does not run any more in a shutdown: heartbeats, and acknowledgements of tasks that have
    ended meanwhile, which would run again if the process were killed now.
    """
    hub: Any = get_event_loop()
    if hub is None:
        return
    try:
        hub.fire_timers()
        with hub._ready_lock:
            mine = {callback for callback in hub._ready if _acknowledges(callback)}
            hub._ready -= mine
        for callback in mine:
            callback()
    except Exception:
        logger.warning("Celery's timers failed during the shutdown.", exc_info=True)


def _acknowledges(callback: Any) -> bool:
    """Tell it from what reads the broker's socket, which would hand over more tasks."""
    method = getattr(callback, "fun", None)
    return isinstance(getattr(method, "__self__", None), Message) and getattr(
        method, "__name__", ""
    ) in ("ack_log_error", "reject_log_error")
