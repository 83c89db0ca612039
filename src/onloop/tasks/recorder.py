"""Writes what a job reports: at most some five times a second, and its last state for certain.

And reads whether somebody has cancelled it, when it writes or the job asks.

The job never waits for that, but at its very end, and before it begins if it had to wait. It
may stand in a transaction, which on SQLite nobody can write beside; the row is written when
that is over. So each write is a task of its own, in a scope of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from onloop.tasks import announcing, records
from onloop.tasks.beats import beat_of
from onloop.tasks.beside import beside
from onloop.tasks.live import LiveJob, worker_id
from onloop.waiting import running_loop, settled

logger = logging.getLogger("onloop.tasks")

EVERY_S = 0.2
# Seconds until what could not be written is tried again.
LATER_S = 2.0
# Seconds in which the last state must be written, and between attempts.
FINISH_S = 20.0
AGAIN_S = 0.5


class Recorder:
    """Writes the states of one job, from the loop given; from `begin` on also that it is there.

    `worker`: the name of the process that has the job, by default this one's.
    """

    def __init__(self, job: LiveJob, loop: asyncio.AbstractEventLoop, worker: str = "") -> None:
        self._job = job
        self._loop = loop
        self.worker = worker or worker_id()
        self._dirty = False
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._not_before_s = 0.0  # on the loop's clock
        self._finishing: asyncio.Task[None] | None = None
        job.changed = self.changed
        if records.are_kept():
            job.look = self.look

    def changed(self) -> None:
        """There is something to write; from any thread."""
        self._call(self._changed)

    def look(self) -> None:
        """The job asks whether it shall stop; from any thread."""
        self._call(self._look)

    def begin(self) -> None:
        """The process has the job now, until `finish` or `drop`; from any thread."""
        self._call(self._begin)

    def drop(self) -> None:
        """It has not got it after all; from any thread."""
        self._call(self._drop)

    def _call(self, function: Callable[[], None]) -> None:
        if running_loop() is self._loop:
            function()
            return
        try:
            self._loop.call_soon_threadsafe(function, context=Context())
        except RuntimeError:
            pass  # the loop is closed: nobody can write any more

    async def ask(self) -> None:
        """Ask whether somebody has cancelled the job; what is wrong with that is logged."""
        try:
            if await beside(records.is_stopped, self._job.id):
                self._job.ask_to_stop()
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with the database
            logger.warning(
                "It cannot be told whether job %s was cancelled: %s", self._job.id, exc
            )

    async def finish(self) -> None:
        """Write the state as it is now. Goes on though it is cancelled, within `FINISH_S`."""
        if self._finishing is None:
            self._finishing = self._loop.create_task(self._finish(), context=Context())
        await settled([self._finishing])

    # --- on the loop --------------------------------------------------------------------------

    def _begin(self) -> None:
        beat_of(self._loop).add(self._job)

    def _drop(self) -> None:
        beat_of(self._loop).discard(self._job)

    def _changed(self) -> None:
        self._dirty = True
        self._go_on()

    def _go_on(self) -> None:
        if not self._dirty or self._timer or self._writing or self._finishing:
            return
        rest_s = self._not_before_s - self._loop.time()
        if rest_s > 0:
            self._timer = self._loop.call_later(rest_s, self._write)
        else:
            self._write()

    def _write(self) -> None:
        self._timer = None
        self._dirty = False
        self._not_before_s = self._loop.time() + EVERY_S
        self._start(self._save_or_log())

    def _look(self) -> None:
        # A write looks as well.
        if not (self._timer or self._writing or self._finishing):
            self._start(self.ask())

    def _start(self, step: Coroutine[Any, Any, None]) -> None:
        self._writing = self._loop.create_task(step, context=Context())
        self._writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled():  # else the loop ends
            self._go_on()

    async def _save_or_log(self) -> None:
        try:
            await self._save()
        except Exception:
            logger.exception("How far job %s is could not be stored.", self._job.id)
            self._dirty = True  # as a block of the job's on SQLite ends, say
            self._not_before_s = self._loop.time() + LATER_S

    async def _save(self) -> None:
        state = self._job.state()
        if records.are_kept():
            saved = await beside(records.save, state, self.worker)
            if saved.is_stopped:
                self._job.ask_to_stop()
            if not saved.is_told:
                return
        await announcing.announce(state)

    async def _finish(self) -> None:
        try:
            await self._save_for_certain()
        finally:
            self._drop()

    async def _save_for_certain(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await asyncio.wait({self._writing})
        deadline = self._loop.time() + FINISH_S
        while True:
            try:
                await self._save()
                return
            except Exception:
                if self._loop.time() > deadline:
                    logger.exception("The end of job %s could not be stored.", self._job.id)
                    return
            await asyncio.sleep(AGAIN_S)
