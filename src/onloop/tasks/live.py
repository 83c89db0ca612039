"""A job in the process that has it: its result, how far it is, whether it shall stop.

Nothing here waits. The loop, the job's own thread and who cancels it come here at once: each
value is replaced whole, and nobody is told of it under a lock.
"""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import time
from collections.abc import Callable
from traceback import format_exception
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils import timezone
from django.utils.crypto import get_random_string

from onloop.tasks.errors import JobCancelled
from onloop.tasks.framework import (
    AnyResult,
    AnyTask,
    TaskError,
    TaskResult,
    TaskResultStatus,
    change,
    normalize_json,
)
from onloop.tasks.jobstate import State, Status

_HOST = socket.gethostname()

# Seconds between two questions whether the job was cancelled elsewhere.
LOOK_S = 0.2


def worker_id() -> str:
    """The name of this process among those that run jobs."""
    return f"{_HOST}-{os.getpid()}"


def new_result(task: AnyTask, args: Any, kwargs: Any, alias: str) -> AnyResult:
    """A result of a job that is about to be enqueued.

    Raises `TypeError` or `ValueError` for arguments that JSON cannot say.
    """
    return TaskResult(
        task=task,
        id=get_random_string(32),
        status=TaskResultStatus.READY,
        enqueued_at=timezone.now(),
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=list(args),
        kwargs=kwargs,
        backend=alias,
        errors=[],
        worker_ids=[],
    )


class LiveJob:
    """One job.

    `changed` is called, in whatever thread, when there is something to write, and `look` when
    it asks whether somebody has cancelled it: who does so elsewhere is heard of by the row.
    """

    def __init__(self, result: AnyResult, owner_id: Any = None) -> None:
        self.result = result
        self.owner_id = owner_id
        self.is_async = iscoroutinefunction(result.task.func)
        self.changed: Callable[[], None] | None = None
        self.look: Callable[[], None] | None = None
        self._made_s = time.monotonic()
        self._next_look_s = 0.0
        self.recorder: Any = None
        self.ended: Callable[[LiveJob], None] | None = None
        # Called when somebody asks the job to stop; it cancels its task, wherever that is.
        self.on_stop: Callable[[], None] | None = None
        self.stop_asked = False
        self.is_asking = False  # whether it was cancelled elsewhere, before it begins
        self._told_to_stop = False
        self._cancelled = False
        self._progress: tuple[float, float | None, str] = (0, None, "")

    @property
    def id(self) -> str:
        return self.result.id

    @property
    def is_finished(self) -> bool:
        return self.result.is_finished

    @property
    def has_begun(self) -> bool:
        return self.result.status != TaskResultStatus.READY

    @property
    def has_waited(self) -> bool:
        """Whether it was there for so long that somebody may have cancelled it elsewhere."""
        return time.monotonic() - self._made_s > LOOK_S

    # --- what it tells ------------------------------------------------------------------------

    def snapshot(self) -> AnyResult:
        """A copy of the result, which goes on changing."""
        result = copy.copy(self.result)
        change(result, errors=list(result.errors), worker_ids=list(result.worker_ids))
        return result

    def state(self) -> State:
        result = self.result
        done, total, note = self._progress
        assert result.enqueued_at is not None
        status: Status = "CANCELLED" if self._cancelled else str(result.status)  # type: ignore[assignment]
        return State(
            id=result.id,
            name=result.task.module_path,
            status=status,
            done=done,
            total=total,
            note=note,
            owner_id=self.owner_id,
            created=result.enqueued_at,
            started=result.started_at,
            finished=result.finished_at,
        )

    # --- what happens to it -------------------------------------------------------------------

    def begin(self, worker: str) -> None:
        now = timezone.now()
        change(
            self.result,
            status=TaskResultStatus.RUNNING,
            started_at=self.result.started_at or now,
            last_attempted_at=now,
            worker_ids=[*self.result.worker_ids, worker],
        )
        self._tell()

    def report(self, done: float, total: float | None, note: str) -> None:
        """Note how far it is. Raises `JobCancelled` once, in a synchronous job.

        The task of an `async def` job is cancelled, and hears of it where it waits.
        """
        self._progress = (done, self._progress[1] if total is None else total, note)
        self._tell()
        if self.stop_asked and not self.is_async and not self._told_to_stop:
            self._told_to_stop = True
            raise JobCancelled(f"The job {self.id} was cancelled.")

    def succeed(self, value: Any) -> None:
        """Raises `TypeError` or `ValueError` for a value that JSON cannot say."""
        change(self.result, _return_value=normalize_json(value))
        self._end(TaskResultStatus.SUCCESSFUL)

    def fail(self, exc: BaseException) -> None:
        # A soft time limit of Celery's is both; it is an error.
        self._cancelled = isinstance(exc, asyncio.CancelledError) and not isinstance(
            exc, Exception
        )
        kind = type(exc)
        error = TaskError(
            exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
            traceback="".join(format_exception(exc)),
        )
        change(self.result, errors=[*self.result.errors, error])
        self._end(TaskResultStatus.FAILED)

    def ask_to_stop(self) -> bool:
        """Ask it to stop; return False if it has ended already.

        Once is enough, whoever asks again (a second click, the row each time that it is read,
        the end of the loop): it would cancel what the job does to clean up.
        """
        if self.is_finished:
            return False
        if not self.stop_asked:
            self.stop_asked = True
            if self.on_stop is not None:
                self.on_stop()
        return True

    def should_stop(self) -> bool:
        """Whether it was asked to stop; what the row says is known by a later call."""
        if not self.stop_asked and self.look is not None:
            now_s = time.monotonic()
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + LOOK_S
                self.look()
        return self.stop_asked

    def _end(self, status: TaskResultStatus) -> None:
        change(self.result, finished_at=timezone.now())
        change(self.result, status=status)
        if self.ended is not None:
            self.ended(self)
        self._tell()

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()
