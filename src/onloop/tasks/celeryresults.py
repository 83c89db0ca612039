"""Results of Django's tasks in Celery's result backend.

Celery keeps the state of its own task, and cannot tell a job that waits from one that it has
never heard of. So what Django's results say is kept beside it, by an id of its own, as a result
of Celery's that expires as all do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from celery import Celery, states
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string

from onloop import bridge
from onloop.tasks.framework import (
    AnyResult,
    AnyTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
    change,
)

T = TypeVar("T")

STATE = "DJANGO_TASK"
DATES = ("enqueued_at", "started_at", "finished_at", "last_attempted_at")

Record = dict[str, Any]


def can_keep(app: Celery) -> bool:
    """Whether the result backend can be asked from any process."""
    from celery.backends.base import DisabledBackend  # noqa: PLC0415 - with Celery's own

    backend = app.backend
    return not isinstance(backend, DisabledBackend) and not app.conf.result_backend.startswith(
        "rpc"
    )


def key_of(result_id: str) -> str:
    return f"onloop-job-{result_id}"


def to_record(result: AnyResult) -> Record:
    """A result as JSON."""
    task = result.task
    record: Record = {
        "id": result.id,
        "func": task.module_path,
        "priority": task.priority,
        "queue_name": task.queue_name,
        "run_after": task.run_after and task.run_after.isoformat(),
        "backend": result.backend,
        "status": str(result.status),
        "args": result.args,
        "kwargs": result.kwargs,
        "errors": [[each.exception_class_path, each.traceback] for each in result.errors],
        "worker_ids": result.worker_ids,
        "return_value": result.return_value if result.status == "SUCCESSFUL" else None,
    }
    for name in DATES:
        date = getattr(result, name)
        record[name] = date and date.isoformat()
    return record


def from_record(record: Record) -> AnyResult:
    """The result again. Raises `ValueError` if there is no such task any more."""
    result: AnyResult = TaskResult(
        task=task_of(record),
        id=record["id"],
        status=TaskResultStatus(record["status"]),
        args=record["args"],
        kwargs=record["kwargs"],
        backend=record["backend"],
        errors=[
            TaskError(exception_class_path=path, traceback=traceback)
            for path, traceback in record["errors"]
        ],
        worker_ids=record["worker_ids"],
        **{name: _date(record[name]) for name in DATES},
    )
    change(result, _return_value=record["return_value"])
    return result


def task_of(record: Record) -> AnyTask:
    path = record["func"]
    try:
        task = import_string(path)
    except ImportError as exc:
        raise ValueError(f"There is no task {path!r} in this process: {exc}") from exc
    if not isinstance(task, Task):
        raise ValueError(
            f"{path!r} is no task: decorate the function with @task, and leave its name to it."
        )
    return task.using(
        priority=record["priority"],
        queue_name=record["queue_name"],
        run_after=_date(record["run_after"]),
        backend=record["backend"],
    )


def keep(app: Celery, result: AnyResult) -> None:
    if can_keep(app):
        app.backend.store_result(key_of(result.id), to_record(result), STATE)


def forget(app: Celery, result_id: str) -> None:
    if can_keep(app):
        app.backend.forget(key_of(result_id))


def look_up(app: Celery, result_id: str) -> AnyResult | None:
    """Read a result; one that Celery gave up (a lost worker, a time limit) has failed."""
    meta = app.backend.get_task_meta(key_of(result_id), cache=False)
    if meta["status"] != STATE:
        return None
    result = from_record(meta["result"])
    if not result.is_finished:
        of_celery = app.backend.get_task_meta(result_id, cache=False)
        if of_celery["status"] in (states.FAILURE, states.REVOKED):
            _fail(result, of_celery)
    return result


def _fail(result: AnyResult, of_celery: dict[str, Any]) -> None:
    exc = of_celery["result"]
    if of_celery["status"] == states.REVOKED:
        path = "onloop.tasks.errors.JobCancelled"
    else:
        path = f"{type(exc).__module__}.{type(exc).__qualname__}"
    error = TaskError(
        exception_class_path=path, traceback=of_celery.get("traceback") or f"{path}: {exc}"
    )
    finished_at = of_celery.get("date_done")
    change(
        result,
        status=TaskResultStatus.FAILED,
        errors=[*result.errors, error],
        finished_at=_date(finished_at) if isinstance(finished_at, str) else finished_at,
    )


def _date(text: str | None) -> datetime | None:
    return None if text is None else parse_datetime(text)


def off_loop(function: Callable[[], T]) -> T:
    """Call what talks to a broker by blocking: in a thread, if the caller is in a bridge."""
    if not bridge.active():
        return function()
    return bridge.await_(asyncio.to_thread(function))
