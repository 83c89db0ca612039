"""Where the `async def` jobs of a Celery worker run: the one place that knows."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from onloop import bridge, taskfactory
from onloop.asgi.unit import in_own_scope
from onloop.bridge import await_
from onloop.tasks import ownloop
from onloop.tasks.errors import JobCancelled
from onloop.tasks.live import LiveJob
from onloop.tasks.reports import current_job


def run_async_job(job: LiveJob, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Call `function` and await what it returns, for a thread that waits; return the value.

    On the loop of the process's own thread, in a scope. When the waiting thread is told to go
    (a soft time limit of Celery's), the job is cancelled, and has ended when this returns.
    """
    loop = ownloop.own_loop()
    ended = asyncio.run_coroutine_threadsafe(_serve(job, function), loop)
    try:
        return ended.result()
    except concurrent.futures.CancelledError:  # is another than asyncio's
        raise JobCancelled(f"The job {job.id} was cancelled.") from None
    except BaseException:
        if not ended.done():
            ended.cancel()
            asyncio.run_coroutine_threadsafe(_until_over(job), loop).result()
        raise


async def _serve(job: LiveJob, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = asyncio.get_running_loop()
    taskfactory.install_task_factory(loop)
    task = loop.create_task(_in_bridge(job, function), context=Context())
    job.task = task

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    job.on_stop = stop
    if job.stop_asked:
        task.cancel()
    return await task


async def _in_bridge(job: LiveJob, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    current_job.set(job)
    return await bridge.run(in_own_scope, lambda: await_(function()))


async def _until_over(job: LiveJob) -> None:
    if job.task is not None:
        await asyncio.wait({job.task})
