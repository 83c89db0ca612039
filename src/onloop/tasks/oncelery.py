"""A backend that hands jobs to Celery: they outlive the process, and run in its workers."""

from __future__ import annotations

import logging
from typing import Any

from onloop import bridge
from onloop.tasks import records
from onloop.tasks.framework import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    TaskResultDoesNotExist,
    task_enqueued,
)
from onloop.tasks.live import LiveJob, new_result
from onloop.tasks.options import CeleryOptions, read
from onloop.tasks.reports import owner_of_caller
from onloop.waiting import running_loop

try:
    from celery import Celery, current_app
    from django.utils.module_loading import import_string

    from onloop.tasks import celeryresults
    from onloop.tasks import tasks as celery_tasks
    from onloop.tasks.celeryresults import off_loop
except ImportError as exc:
    raise ImportError(
        'onloop.tasks.CeleryBackend needs Celery: pip install "django-onloop[celery]".'
    ) from exc

logger = logging.getLogger("onloop.tasks")

# Celery's priorities are 0 to 9, Django's -100 to 100.
HIGHEST = 9


class CeleryBackend(BaseTaskBackend):
    """`TASKS = {"default": {"BACKEND": "onloop.tasks.CeleryBackend", "OPTIONS": {…}}}`.

    `onloop.tasks.options.CeleryOptions` has the options. The queue "default" is Celery's
    default one; any other is Celery's queue of that name.
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Raises `ImproperlyConfigured` for options that do not exist."""
        super().__init__(alias, params)
        self.settings = read(CeleryOptions, alias, self.options)

    @property
    def app(self) -> Celery:
        if self.settings.app:
            return import_string(self.settings.app)
        return current_app._get_current_object()

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]
        """Whether Celery has a result backend that any process can ask."""
        return celeryresults.can_keep(self.app)

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        """Send a job to Celery's broker; from a bridge, the broker is waited for in a thread.

        Raises what Celery raises if the broker is away (`kombu.exceptions.OperationalError`),
        Django's `InvalidTask`, and `TypeError` or `ValueError` for arguments that JSON cannot
        say. The job does not wait for the caller's transaction: use `transaction.on_commit`.
        """
        self.validate_task(task)
        job = LiveJob(new_result(task, args, kwargs, self.alias), owner_of_caller())
        off_loop(lambda: self._send(job))
        task_enqueued.send_robust(type(self), task_result=job.snapshot())
        if self.stores:
            self._store(job)
        return job.snapshot()

    async def aenqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        """As `enqueue`. If it is cancelled, the job may be sent, and run."""
        return await bridge.run(self.enqueue, task, args, kwargs)

    def get_result(self, result_id: str) -> AnyResult:
        """Raises `TaskResultDoesNotExist`, also for results that have expired."""
        if not self.supports_get_result:
            raise NotImplementedError(
                "There is no result to be had: Celery's setting result_backend is not set, or "
                "is one that only the sender can ask (rpc://)."
            )
        result = off_loop(lambda: celeryresults.look_up(self.app, result_id))
        if result is None:
            raise TaskResultDoesNotExist(result_id)
        return result

    async def aget_result(self, result_id: str) -> AnyResult:
        return await bridge.run(self.get_result, result_id)

    def revoke(self, result_id: str, *, known: bool) -> bool:
        """Tell the workers to drop a job that they have not begun.

        `known`: the database has it, so its state is not asked for. Returns whether there is
        anything to cancel.
        """
        if not known:
            try:
                if self.get_result(result_id).is_finished:
                    return False
            except (TaskResultDoesNotExist, NotImplementedError):
                return False
        off_loop(lambda: self.app.control.revoke(result_id))
        return True

    @property
    def stores(self) -> bool:
        """Whether states of jobs go to the database."""
        return self.settings.store and records.are_kept()

    def _send(self, job: LiveJob) -> None:
        app, task = self.app, job.result.task
        celeryresults.keep(app, job.result)
        options: dict[str, Any] = {"priority": self.priority_of(task)}
        if task.queue_name != "default":
            options["queue"] = task.queue_name
        if task.run_after is not None:
            options["eta"] = task.run_after
        try:
            app.tasks[celery_tasks.name_for(job)].apply_async(
                args=[celeryresults.to_record(job.result), job.owner_id],
                task_id=job.id,
                **options,
            )
        except BaseException:
            celeryresults.forget(app, job.id)
            raise

    def _store(self, job: LiveJob) -> None:
        if running_loop() is not None and not bridge.active():
            return  # nobody can wait for a database there: the worker makes the row
        try:
            records.insert(job.state())
        except Exception:
            logger.exception("Job %s is enqueued, but its state is not stored.", job.id)

    def priority_of(self, task: AnyTask) -> int:
        """Celery's priority: 9 is the first on AMQP, and 0 on Redis."""
        level = round((task.priority + 100) / 200 * HIGHEST)
        url = str(self.app.conf.broker_url or "")
        return HIGHEST - level if url.startswith(("redis", "sentinel")) else level
