"""Django's tasks framework, whichever package has it.

`django.tasks` on Django 6.0 and later, before that the package `django-tasks`, from which it
came. Nothing else in Onloop imports either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import django
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import TaskContext, TaskResult, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
else:
    try:
        from django_tasks import TaskContext, TaskResult, TaskResultStatus, task_backends
    except ImportError as exc:
        raise ImproperlyConfigured(
            "onloop.tasks needs Django 6.0 or later, or the package django-tasks: "
            'pip install "django-onloop[tasks]".'
        ) from exc
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskError
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
    from django_tasks.utils import normalize_json

# Where it logs that jobs have begun and ended.
LOGGER = Task.__module__.removesuffix(".base")  # "django.tasks" or "django_tasks"

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[Any, Any]
    AnyResult: TypeAlias = TaskResult[Any, Any]
else:  # generic to type checkers only
    AnyTask, AnyResult = Task, TaskResult

__all__ = [
    "LOGGER",
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "change",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]


def change(result: AnyResult, **fields: Any) -> None:
    """Change a result, which is frozen for everybody but its backend."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)
