"""The one Celery task, which runs any job: `onloop.tasks.run`.

Celery's `autodiscover_tasks` finds this module by its name.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from onloop.tasks import celeryresults, ownloop, records
from onloop.tasks.coroutines import run_async_job
from onloop.tasks.errors import JobCancelled
from onloop.tasks.framework import change, task_backends, task_finished, task_started
from onloop.tasks.live import LiveJob
from onloop.tasks.recorder import FINISH_S, Recorder
from onloop.tasks.reports import current_job
from onloop.tasks.running import arguments_of, send

logger = logging.getLogger("onloop.tasks")

NAME = "onloop.tasks.run"


@shared_task(name=NAME, bind=True)  # type: ignore[untyped-decorator]
def run(self: Any, record: celeryresults.Record, owner_id: Any = None) -> Any:
    """Run the job that `record` names, for a worker; return what it returns.

    Raises what the job raises, so that Celery's own state of it is right.
    """
    job = LiveJob(celeryresults.from_record(record), owner_id)
    before = _attempts_before(self.app, job.id)
    change(job.result, worker_ids=before)
    recorder = _recorder_of(job)
    token = current_job.set(job)
    try:
        return _run(self, job)
    except asyncio.CancelledError:
        # No failure, and nobody tries it again.
        self.backend.mark_as_revoked(self.request.id, "cancelled", request=self.request)
        raise Ignore from None
    finally:
        current_job.reset(token)
        if recorder is not None:
            _finish(recorder, job)


def _run(celery_task: Any, job: LiveJob) -> Any:
    app = celery_task.app
    try:
        if records.is_stopped(job.id):
            raise JobCancelled(f"The job {job.id} was cancelled before it began.")
        job.begin(celery_task.request.hostname or "?")
        celeryresults.keep(app, job.result)
        send(task_started, job)
        job.succeed(_call(job))
    except SystemExit as exc:
        # The process ends, by a hard time limit, say. Celery knows better what that means: it
        # gives the job up, or has it run again.
        job.fail(exc)
        raise
    except BaseException as exc:
        job.fail(exc)
        celeryresults.keep(app, job.result)
        send(task_finished, job)
        raise
    celeryresults.keep(app, job.result)
    send(task_finished, job)
    return job.result.return_value


def _call(job: LiveJob) -> Any:
    function = functools.partial(job.result.task.func, *arguments_of(job), **job.result.kwargs)
    return run_async_job(job, function) if job.is_async else function()


def _recorder_of(job: LiveJob) -> Recorder | None:
    stores = getattr(task_backends[job.result.backend], "stores", False)
    return Recorder(job, ownloop.own_loop()) if stores else None


def _finish(recorder: Recorder, job: LiveJob) -> None:
    """Have the last state written; a failure of that is not the job's."""
    try:
        loop = ownloop.own_loop()
        finishing = asyncio.run_coroutine_threadsafe(recorder.finish(), loop)
        finishing.result(FINISH_S * 2)
    except Exception:
        logger.exception("The end of job %s could not be stored.", job.id)


def _attempts_before(app: Any, job_id: str) -> list[str]:
    """The workers that have begun it, and did not come to its end."""
    if not celeryresults.can_keep(app):
        return []
    known = celeryresults.look_up(app, job_id)
    return [] if known is None else known.worker_ids
