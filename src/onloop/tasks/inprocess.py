"""A backend that runs jobs in the process that enqueued them, on its event loop.

For development, and for work that may get lost: what waits or runs is gone with the process.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from onloop import bridge
from onloop.db.scope import is_lent_here
from onloop.tasks import home, records, results
from onloop.tasks.framework import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    TaskResultDoesNotExist,
    task_enqueued,
)
from onloop.tasks.live import LiveJob, new_result
from onloop.tasks.options import Options, read
from onloop.tasks.recorder import Recorder
from onloop.tasks.reports import owner_of_caller

logger = logging.getLogger("onloop.tasks")


class InProcessBackend(BaseTaskBackend):
    """`TASKS = {"default": {"BACKEND": "onloop.tasks.InProcessBackend", "OPTIONS": {…}}}`.

    `onloop.tasks.options.Options` has the options. Results are known in this process only.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Raises `ImproperlyConfigured` for options that do not exist."""
        super().__init__(alias, params)
        self.settings = read(Options, alias, self.options)
        self._results = results.results_of(alias)

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        """Queue a job, from any code: on a loop, in a thread, in a callback of a transaction.

        It never waits for the job. Raises `QueueFull` where too many wait, `QueueClosed` when
        the process ends, Django's `InvalidTask`, and `TypeError` or `ValueError` for arguments
        that JSON cannot say.
        """
        self.validate_task(task)
        loop = home.loop_for_jobs()
        queue = home.queue_of(loop, self.alias, self.settings)
        job = LiveJob(new_result(task, args, kwargs, self.alias), owner_of_caller())
        stored = self.settings.store and records.are_kept()
        if stored:
            job.recorder = Recorder(job, loop)
        job.ended = self._ended
        queue.reserve()
        is_put = False
        try:
            self._results.add(job, self.settings)
            if job.recorder is not None:
                job.recorder.begin()  # before the job can end
            task_enqueued.send(type(self), task_result=job.snapshot())
            queue.put(job)
            is_put = True
        finally:
            if not is_put:
                queue.give_back()
                self._results.discard(job)
                if job.recorder is not None:
                    job.recorder.drop()
        enqueued = job.snapshot()
        if stored:
            store(job)
        return enqueued

    async def aenqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        """As `enqueue`. If it is cancelled, the job may be queued, and run."""
        return await bridge.run(self.enqueue, task, args, kwargs)

    def get_result(self, result_id: str) -> AnyResult:
        """Raises `TaskResultDoesNotExist`, also for results that were too old to be kept."""
        job = self._results.get(result_id, self.settings)
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        return job.snapshot()

    async def aget_result(self, result_id: str) -> AnyResult:
        return self.get_result(result_id)

    def _ended(self, job: LiveJob) -> None:
        self._results.ended(job, self.settings)


def store(job: LiveJob) -> None:
    """Write the row of a job that was enqueued, where the caller has connections that end.

    Anywhere else the job's recorder has it written soon.
    """
    if not (bridge.active() or is_lent_here()):
        job.recorder.changed()
        return
    try:
        records.insert(job.state(), job.recorder.worker)
    except Exception:
        logger.exception("Job %s is enqueued, but its state could not be stored.", job.id)


os.register_at_fork(after_in_child=results.forget_all)
