"""Jobs that run in this process log under the id of the request that wanted them.

For those of Celery's workers ``workspace/celery.py`` does the same.
"""

from typing import Any

from onloop.tasks import InProcessBackend
from workspace import requestid
from workspace.background import task_enqueued, task_finished, task_started

# Of jobs that have not ended; there are no more of them than the backend's queue takes.
_wanted_by: dict[str, str] = {}


def connect() -> None:
    for signal, receiver in (
        (task_enqueued, remember),
        (task_started, take_over),
        (task_finished, forget),
    ):
        signal.connect(receiver, sender=InProcessBackend)
    # Before Django's own receiver, which logs that the job is RUNNING.
    task_started.receivers.insert(0, task_started.receivers.pop())
    task_started.sender_receivers_cache.clear()


def remember(task_result: Any, **kwargs: Any) -> None:
    _wanted_by[task_result.id] = requestid.current.get()


def take_over(task_result: Any, **kwargs: Any) -> None:
    requestid.begin(_wanted_by.get(task_result.id))


def forget(task_result: Any, **kwargs: Any) -> None:
    _wanted_by.pop(task_result.id, None)
