"""The two Celery tasks that run any job: `onloop.tasks.run`, and one for `async def` functions.

The latter is a task of `onloop.celery`: it runs on the worker's event loop, under its pool many
at once. Celery's `autodiscover_tasks` finds this module by its name.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from django.db import Error

from onloop import bridge
from onloop.bridge import await_
from onloop.celery import Task
from onloop.tasks import celeryresults, ownloop, records
from onloop.tasks.celeryresults import off_loop
from onloop.tasks.errors import JobCancelled
from onloop.tasks.framework import change, task_backends, task_finished, task_started
from onloop.tasks.live import LiveJob
from onloop.tasks.recorder import FINISH_S, Recorder
from onloop.tasks.reports import current_job
from onloop.tasks.running import arguments_of, send

logger = logging.getLogger("onloop.tasks")

NAME = "onloop.tasks.run"
ASYNC_NAME = "onloop.tasks.run_async"


@shared_task(name=NAME, bind=True)  # type: ignore[untyped-decorator]
def run(self: Any, record: celeryresults.Record, owner_id: Any = None) -> Any:
    """Run the job that `record` names, for a worker; return what it returns.

    Raises what the job raises, so that Celery's own state of it is right.
    """
    return _serve(self, record, owner_id)


@shared_task(name=ASYNC_NAME, bind=True, base=Task)  # type: ignore[untyped-decorator]
async def run_async(self: Any, record: celeryresults.Record, owner_id: Any = None) -> Any:
    """`run`, for a job whose function is `async def`."""
    return await bridge.run(_serve, self, record, owner_id)


def name_for(job: LiveJob) -> str:
    """The name of the Celery task that runs `job`."""
    return ASYNC_NAME if job.is_async else NAME


def _serve(celery_task: Any, record: celeryresults.Record, owner_id: Any) -> Any:
    job = LiveJob(celeryresults.from_record(record), owner_id)
    before = off_loop(lambda: _attempts_before(celery_task.app, job.id))
    change(job.result, worker_ids=before)
    token = current_job.set(job)
    recorder = _recorder_of(job, celery_task.request.hostname or "?")
    try:
        return _run(celery_task, job, is_stored=recorder is not None)
    except asyncio.CancelledError:
        if job.is_async and not job.stop_asked:
            raise  # the worker's own: a limit, or its end
        # No failure, and nobody tries it again.
        request = celery_task.request
        off_loop(
            lambda: celery_task.backend.mark_as_revoked(
                request.id, "cancelled", request=request
            )
        )
        raise Ignore from None
    finally:
        current_job.reset(token)
        if recorder is not None:
            _finish(recorder, job)


def _run(celery_task: Any, job: LiveJob, *, is_stored: bool) -> Any:
    app = celery_task.app
    try:
        if is_stored and _is_stopped(job):
            raise JobCancelled(f"The job {job.id} was cancelled before it began.")
        job.begin(celery_task.request.hostname or "?")
        off_loop(lambda: celeryresults.keep(app, job.result))
        send(task_started, job)
        job.succeed(_call(job))
    except BaseException as exc:
        if _is_the_workers(exc, job):
            job.fail(SystemExit("The worker ended it."))
            raise
        job.fail(exc)
        off_loop(lambda: celeryresults.keep(app, job.result))
        send(task_finished, job)
        raise
    off_loop(lambda: celeryresults.keep(app, job.result))
    send(task_finished, job)
    return job.result.return_value


def _is_stopped(job: LiveJob) -> bool:
    """Whether it was cancelled before it began; a database that is away is not its failure."""
    try:
        return records.is_stopped(job.id)
    except Error as exc:
        logger.warning("It cannot be told whether job %s was cancelled: %s", job.id, exc)
        return False


def _is_the_workers(exc: BaseException, job: LiveJob) -> bool:
    """Tell whether the worker ends the job or the process, by a hard time limit, say.

    Celery knows better what that means: it gives the job up, or has it run again.
    """
    if job.is_async and isinstance(exc, asyncio.CancelledError):
        return not (job.stop_asked or isinstance(exc, JobCancelled | Exception))
    return isinstance(exc, SystemExit)


def _call(job: LiveJob) -> Any:
    function = functools.partial(job.result.task.func, *arguments_of(job), **job.result.kwargs)
    if not job.is_async:
        return function()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        loop.call_soon_threadsafe(interrupt)

    def interrupt() -> None:
        if job.on_stop is stop:  # else the function has ended meanwhile
            task.cancel()

    job.on_stop = stop
    if job.stop_asked:
        task.cancel()
    try:
        return await_(function())
    except asyncio.CancelledError:
        if job.stop_asked:
            task.uncancel()  # what is left to do is not cancelled
        raise
    finally:
        job.on_stop = None


def _recorder_of(job: LiveJob, worker: str) -> Recorder | None:
    if not getattr(task_backends[job.result.backend], "stores", False):
        return None
    on_loop = bridge.active()
    loop = asyncio.get_running_loop() if on_loop else ownloop.own_loop()
    recorder = Recorder(job, loop, worker)
    recorder.begin()
    return recorder


def _finish(recorder: Recorder, job: LiveJob) -> None:
    """Have the last state written; a failure of that is not the job's."""
    try:
        if bridge.active():
            await_(recorder.finish())
            return
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
