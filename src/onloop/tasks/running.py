"""One job on the event loop: in a bridge, in a scope of its own, where its function belongs."""

from __future__ import annotations

import asyncio
from typing import Any

from onloop import bridge, watchdog
from onloop.asgi.explain import explain
from onloop.asgi.places import place_of
from onloop.asgi.threads import call_in_thread
from onloop.asgi.unit import in_own_scope
from onloop.bridge import await_
from onloop.tasks import logs
from onloop.tasks.errors import JobCancelled
from onloop.tasks.framework import TaskContext, task_backends, task_finished, task_started
from onloop.tasks.live import LiveJob, worker_id
from onloop.tasks.reports import current_job

logs.install()


async def run_job(job: LiveJob) -> None:
    """Run a job to its end, in a context of its own; its error is kept in its result.

    A cancellation of the task is kept there too, and raised. Then the last state is written.
    """
    current_job.set(job)
    try:
        if job.recorder is not None and job.has_waited and not job.stop_asked:
            await _ask_first(job)
        with watchdog.serving(explain):
            await bridge.run(in_own_scope, _run, job)
    finally:
        if job.recorder is not None:
            await job.recorder.finish()


async def _ask_first(job: LiveJob) -> None:
    """A job that had to wait asks whether it was cancelled in another process meanwhile."""
    job.is_asking = True
    try:
        await job.recorder.ask()
    except asyncio.CancelledError as exc:
        if not job.stop_asked:
            job.fail(exc)
            raise
        asyncio.current_task().uncancel()  # type: ignore[union-attr]  # `_run` tells of its end
    finally:
        job.is_asking = False


def _run(job: LiveJob) -> None:
    try:
        if job.stop_asked:
            raise JobCancelled(f"The job {job.id} was cancelled before it began.")
        job.begin(worker_id())
        send(task_started, job)
        job.succeed(_call(job))
    except GeneratorExit as exc:  # the coroutine is closed: nothing can wait here any more
        job.fail(exc)
        raise
    except BaseException as exc:
        job.fail(exc)
        # Here, where the receiver that logs it finds the exception.
        send(task_finished, job)
        if isinstance(exc, KeyboardInterrupt):
            raise
    else:
        send(task_finished, job)
    if asyncio.current_task().cancelling():  # type: ignore[union-attr]
        raise asyncio.CancelledError  # whatever came of the job, its task was cancelled


def send(signal: Any, job: LiveJob) -> None:
    """Tell receivers; their errors are logged, and are not the job's."""
    backend = type(task_backends[job.result.backend])
    signal.send_robust(sender=backend, task_result=job.snapshot())


def arguments_of(job: LiveJob) -> list[Any]:
    """What the function is called with, before its keywords."""
    if job.result.task.takes_context:
        return [TaskContext(task_result=job.snapshot()), *job.result.args]
    return job.result.args


def _call(job: LiveJob) -> Any:
    function, keywords = job.result.task.func, job.result.kwargs
    arguments = arguments_of(job)
    place = place_of(function)
    if place == "awaited":
        return await_(function(*arguments, **keywords))
    if place == "loop":
        return function(*arguments, **keywords)
    ended = _Ended()

    def in_thread(_: object) -> None:
        try:
            ended.value = function(*arguments, **keywords)
        except BaseException as exc:
            ended.error = exc
            raise
        ended.well = True

    try:
        await_(call_in_thread(in_thread, None))  # type: ignore[arg-type]
    except asyncio.CancelledError:
        # The thread went on meanwhile. What it has done is done.
        if ended.error is not None:
            raise ended.error from None
        if not ended.well:
            raise
    return ended.value


class _Ended:
    """How a function ended in its thread."""

    value: Any = None
    well = False
    error: BaseException | None = None
