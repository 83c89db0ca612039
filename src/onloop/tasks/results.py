"""The jobs that a process knows, by id: all that go on, and for a while those that ended."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from onloop.tasks.live import LiveJob
from onloop.tasks.options import Options


class Results:
    """The jobs of one backend, on whichever loop they are; from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._jobs: dict[str, LiveJob] = {}
        # Those that ended, the first of them first.
        self._ended: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: LiveJob, options: Options) -> None:
        with self._guard:
            self._jobs[job.id] = job
            self._forget(options)

    def get(self, job_id: str, options: Options) -> LiveJob | None:
        with self._guard:
            self._forget(options)
            return self._jobs.get(job_id)

    def find(self, job_id: str) -> LiveJob | None:
        return self._jobs.get(job_id)

    def discard(self, job: LiveJob) -> None:
        """Forget a job that was not enqueued after all."""
        with self._guard:
            self._jobs.pop(job.id, None)

    def ended(self, job: LiveJob, options: Options) -> None:
        with self._guard:
            self._ended.append((time.monotonic(), job.id))
            self._forget(options)

    def _forget(self, options: Options) -> None:
        since = time.monotonic() - options.result_ttl_s
        while self._ended and (
            len(self._ended) > options.max_results or self._ended[0][0] < since
        ):
            self._jobs.pop(self._ended.popleft()[1], None)


_results: dict[str, Results] = {}
_guard = threading.Lock()


def results_of(alias: str) -> Results:
    """Django makes a backend for each thread and context: what they know is one."""
    with _guard:
        return _results.setdefault(alias, Results())


def find(job_id: str) -> LiveJob | None:
    """Look for a job in all backends of this process."""
    found = (results.find(job_id) for results in list(_results.values()))
    return next((job for job in found if job is not None), None)


def forget_all(**kwargs: Any) -> None:
    """In a forked child: the jobs are its parent's."""
    global _guard  # noqa: PLW0603 - a thread of the parent may have held it
    _guard = threading.Lock()
    _results.clear()
