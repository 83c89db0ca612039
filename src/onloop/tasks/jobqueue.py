"""The jobs of one backend on one event loop: those that wait, and those that run.

Jobs come from any thread, and start from a callback of the loop, in an empty context: nothing
of who enqueued them (language, user, transaction) is theirs. There is no worker that waits for
jobs, so a loop without jobs has no task of ours.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextvars import Context
from typing import Any

from onloop.perloop import before_loop_ends
from onloop.tasks.errors import JobCancelled, QueueClosed, QueueFull
from onloop.tasks.live import LiveJob
from onloop.tasks.options import Options
from onloop.tasks.running import run_job

logger = logging.getLogger("onloop.tasks")

# Seconds that jobs which are cancelled at the end have to clean up.
CANCEL_S = 5.0
# Seconds until a loop on which somebody cancelled a job starts the next: it may be ending.
AFTER_CANCEL_S = 1.0
# A timer is set anew after so many seconds, since the clock may have been put forward.
LONGEST_TIMER_S = 60.0

Entry = tuple[float, int, LiveJob]


class JobQueue:
    """Runs at most `max_running` jobs at once, of higher priority first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Options) -> None:
        self.loop = loop
        self.closed = False
        self.options = options
        self._numbers = itertools.count()
        # Held for a few instructions and never over a wait.
        self._guard = threading.Lock()
        self._reserved = 0
        self._ready: list[Entry] = []
        self._delayed: list[Entry] = []
        # Cancelled before they began: they end as all jobs do, and need no slot for that.
        self._called_off: list[LiveJob] = []
        self._running: dict[LiveJob, asyncio.Task[None] | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._something_ended = asyncio.Event()
        self._closer: AsyncGenerator[None, None] | None = None

    def stats(self) -> dict[str, int]:
        """Jobs that run, that wait for a place, and that wait for their time."""
        with self._guard:
            return {
                "running": len(self._running),
                "waiting": len(self._ready),
                "delayed": len(self._delayed),
                "max_running": self.options.max_running,
                "max_queued": self.options.max_queued,
            }

    # --- from any thread ----------------------------------------------------------------------

    def reserve(self) -> None:
        """Take a place for a job. Raises `QueueFull` or `QueueClosed`."""
        options = self.options
        with self._guard:
            self._refuse_if_closed()
            there = len(self._ready) + len(self._delayed) + len(self._running) + self._reserved
            if there >= options.max_running + options.max_queued:
                raise QueueFull(
                    f"{there} jobs run or wait, as many as OPTIONS allow: max_running is "
                    f"{options.max_running} and max_queued {options.max_queued}. Enqueue it "
                    "later, answer with 503, or use a backend with workers."
                )
            self._reserved += 1

    def give_back(self) -> None:
        """Give back a place for which there is no job after all."""
        with self._guard:
            self._reserved -= 1

    def put(self, job: LiveJob) -> None:
        """Queue a job in a place that was reserved. Raises `QueueClosed`."""
        task = job.result.task
        with self._guard:
            self._refuse_if_closed()
            self._reserved -= 1
            if task.run_after is not None and task.run_after.timestamp() > time.time():
                entry = (task.run_after.timestamp(), next(self._numbers), job)
                heapq.heappush(self._delayed, entry)
            else:
                self._push_ready(job)
        job.on_stop = lambda: self._stop(job)
        if job.stop_asked:  # before that: by a receiver of the signal, or in another thread
            self._stop(job)
        self._wake(self._start_jobs)

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise QueueClosed(
                "The event loop that runs jobs is at its end, and takes no more of them. What "
                "must not get lost belongs to a backend with workers, as CeleryBackend."
            )

    def _push_ready(self, job: LiveJob) -> None:
        heapq.heappush(self._ready, (-job.result.task.priority, next(self._numbers), job))

    def _stop(self, job: LiveJob) -> None:
        """Cancel the job's task, or take it out of the queue."""
        with self._guard:
            if job not in self._running:
                for heap in (self._ready, self._delayed):
                    kept = [entry for entry in heap if entry[2] is not job]
                    if len(kept) < len(heap):
                        heap[:] = kept
                        heapq.heapify(heap)
                        self._called_off.append(job)
        self._wake(self._cancel_task, job)
        self._wake(self._start_jobs)

    def _wake(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(callback, *args, context=Context())
        except RuntimeError:
            self.close(can_run=False)  # the loop is closed, and with it all of its jobs

    # --- on the loop --------------------------------------------------------------------------

    def _start_jobs(self) -> None:
        if self._closer is None:
            self._closer = before_loop_ends(self._close_with_loop)
        with self._guard:
            now = time.time()
            while self._delayed and self._delayed[0][0] <= now:
                self._push_ready(heapq.heappop(self._delayed)[2])
            starting, self._called_off = self._called_off, []
            while self._ready and len(self._running) < self.options.max_running:
                job = heapq.heappop(self._ready)[2]
                self._running[job] = None
                starting.append(job)
            due = self._delayed[0][0] if self._delayed else None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            rest_s = min(max(due - now, 0), LONGEST_TIMER_S)
            self._timer = self.loop.call_later(rest_s, self._start_jobs, context=Context())
        for job in starting:
            self._start(job)

    def _start(self, job: LiveJob) -> None:
        name = f"job {job.result.task.name} {job.id}"
        task = self.loop.create_task(run_job(job), name=name, context=Context())
        self._running[job] = task
        task.add_done_callback(lambda task: self._ended(job, task))

    def _ended(self, job: LiveJob, task: asyncio.Task[None]) -> None:
        self._running.pop(job, None)
        self._something_ended.set()
        if not job.is_finished:
            job.fail(JobCancelled("The task of the job was cancelled before it began."))
            if job.recorder is not None:
                job.recorder.drop()
        if task.cancelled() and not job.stop_asked:
            # Not by us: `asyncio.run` does so at its end, and must find no new tasks then.
            self.loop.call_later(AFTER_CANCEL_S, self._start_jobs, context=Context())
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Job %s was given up.", job.id, exc_info=error)
        self._start_jobs()

    def _cancel_task(self, job: LiveJob) -> None:
        task = self._running.get(job)
        # One whose task has not begun looks by itself: it has an end that is stored and told.
        if task is not None and (job.has_begun or job.is_asking):
            task.cancel()

    # --- the end ------------------------------------------------------------------------------

    async def drain(self, timeout_s: float | None) -> None:
        """Run what waits, for at most `timeout_s` seconds; cancel the rest, and close.

        Jobs that are not due by then do not keep it waiting.
        """
        deadline = None if timeout_s is None else self.loop.time() + timeout_s
        try:
            while self._has_work(deadline):
                self._something_ended.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._something_ended.wait()
                except TimeoutError:
                    break
        finally:
            left = self.close(can_run=True)
            if left:
                await asyncio.wait(left, timeout=CANCEL_S)
        if late := [job.id for job in self._running]:
            logger.error("Jobs go on though they were cancelled: %s.", ", ".join(late))

    def _has_work(self, deadline: float | None) -> bool:
        with self._guard:
            if self._ready or self._running or self._called_off:
                return True
            rest_s = 0 if deadline is None else deadline - self.loop.time()
            return bool(self._delayed) and self._delayed[0][0] <= time.time() + rest_s

    def close(self, *, can_run: bool) -> set[asyncio.Task[None]]:
        """Take no more jobs, cancel all; return the tasks of those that are still to end.

        `can_run`: the loop goes on, so that each can end by itself.
        """
        with self._guard:
            first, self.closed = not self.closed, True
            waiting = [job for _, _, job in (*self._ready, *self._delayed)]
            waiting += self._called_off
            self._ready.clear()
            self._delayed.clear()
            self._called_off.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        running = [job for job in self._running if not job.is_finished]
        if first and (waiting or running):
            logger.warning(
                "The event loop ends: %d jobs that ran and %d that waited are cancelled.",
                len(running),
                len(waiting),
            )
        for job in waiting:
            job.stop_asked = True
            if can_run:
                self._start(job)
            else:
                job.fail(JobCancelled("The event loop ended before the job began."))
        for job in running:
            if can_run:
                job.ask_to_stop()
        return {task for task in self._running.values() if task is not None and not task.done()}

    async def _close_with_loop(self) -> None:
        self.close(can_run=False)
