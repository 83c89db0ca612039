"""Tells the database now and then that a loop's jobs are still there, reports or none.

Who reads of a job that is not told of any more knows that its process is gone (`Job.is_lost`).
By the way the jobs hear of it that were cancelled elsewhere. Two statements serve all jobs of a
loop, and a loop without jobs has no timer.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextvars import Context

from onloop.tasks import records
from onloop.tasks.beside import beside
from onloop.tasks.live import LiveJob

logger = logging.getLogger("onloop.tasks")

# Seconds between two beats. Four of them make `jobstate.LOST_S`.
EVERY_S = 15.0


class Beat:
    """The jobs of one loop whose states are stored. To be used on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: dict[str, LiveJob] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def add(self, job: LiveJob) -> None:
        self._jobs[job.id] = job
        self._go_on()

    def discard(self, job: LiveJob) -> None:
        self._jobs.pop(job.id, None)
        if self._jobs:
            return
        _beats.pop(self._loop, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._jobs and not (self._timer or self._telling):
            self._timer = self._loop.call_later(EVERY_S, self._tell, context=Context())

    def _tell(self) -> None:
        self._timer = None
        self._telling = self._loop.create_task(self._touch(), context=Context())
        self._telling.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling = None
        if not task.cancelled():  # else the loop ends
            self._go_on()

    async def _touch(self) -> None:
        try:
            stopped = await beside(records.touch, list(self._jobs))
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with the database
            logger.warning("The database could not be told that jobs go on: %s", exc)
            return
        for job_id in stopped:
            if (job := self._jobs.get(job_id)) is not None:
                job.ask_to_stop()


_beats: dict[asyncio.AbstractEventLoop, Beat] = {}


def beat_of(loop: asyncio.AbstractEventLoop) -> Beat:
    """Return that of `loop`, which runs in the caller's thread."""
    beat = _beats.get(loop)
    if beat is None:
        for closed in [other for other in list(_beats) if other.is_closed()]:
            _beats.pop(closed, None)
        beat = _beats[loop] = Beat(loop)
    return beat


# In a forked child: the jobs are its parent's.
os.register_at_fork(after_in_child=_beats.clear)
