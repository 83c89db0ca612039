"""What a task is told, and what is told of a task, beyond Celery's own exceptions."""

from __future__ import annotations

import asyncio

from billiard.exceptions import SoftTimeLimitExceeded


class SelfCancelled(Exception):
    """The task raised `asyncio.CancelledError`, and nobody had cancelled it.

    Something that it awaited was cancelled by the task's own code. Celery would take the bare
    exception for the end of the worker's process.
    """


class SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):  # type: ignore[misc]
    """The soft time limit, as it is raised at the place where a task waits.

    A `SoftTimeLimitExceeded` to the task. A cancellation to all that stands between: a query is
    stopped at the server, a slot of a pool is given back, `asyncio.gather` cancels its parts.
    """
