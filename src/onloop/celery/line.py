"""Which jobs run and which wait. It lives on the thread of the pool's loop, without a lock."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Executor

from onloop.celery.jobs import Job


class Line:
    """Up to `limit` jobs at once, at most `threads` of them in threads; others in order."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, executor: Executor, *, limit: int, threads: int
    ) -> None:
        self.limit = limit
        self.threads = threads
        # Set when no more jobs are taken and none runs any more.
        self.idle = threading.Event()
        self._loop = loop
        self._executor = executor
        self._running: dict[int, Job] = {}
        self._in_threads = 0
        self._for_loop: deque[Job] = deque()
        self._for_threads: deque[Job] = deque()
        self._closed = False

    def add(self, job: Job) -> None:
        if self._closed:
            return  # Celery has not accepted it; the broker gives it to somebody else
        (self._for_loop if job.on_loop else self._for_threads).append(job)
        self._fill()

    def resize(self, by: int) -> None:
        self.limit += by
        self._fill()

    def drop_waiting(self) -> None:
        """Forget the jobs that have not begun; the broker has their messages still."""
        self._for_loop.clear()
        self._for_threads.clear()

    def close(self) -> None:
        """Take no more jobs, and drop those that wait."""
        self._closed = True
        self.drop_waiting()
        self._look()

    def stop(self, number: int) -> None:
        """Cancel a job, if it is there; from any thread."""
        if (job := self._running.get(number)) is None:
            return
        if job.on_loop:
            self._loop.call_soon_threadsafe(job.stop)
        else:
            job.stop()  # at once: it may be about to begin

    def stop_all(self) -> None:
        for job in list(self._running.values()):
            job.stop()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._for_loop) + len(self._for_threads)

    def _fill(self) -> None:
        while len(self._running) < self.limit:
            job = self._next()
            if job is None:
                return
            self._running[job.number] = job
            if job.on_loop:
                job.begin_on(self._loop, self._over)
            else:
                self._in_threads += 1
                job.begin_in(self._executor, self._over_in_thread)

    def _next(self) -> Job | None:
        """The one that has waited longest, of those that have a place to run."""
        lanes = [self._for_loop]
        if self._in_threads < self.threads:
            lanes.append(self._for_threads)
        ready = [lane for lane in lanes if lane]
        return min(ready, key=lambda lane: lane[0].number).popleft() if ready else None

    def _over(self, job: Job) -> None:
        del self._running[job.number]
        if not job.on_loop:
            self._in_threads -= 1
        self._fill()
        self._look()

    def _over_in_thread(self, job: Job) -> None:
        try:
            self._loop.call_soon_threadsafe(self._over, job)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _look(self) -> None:
        if self._closed and not self._running:
            self.idle.set()
