"""Celery's tasks on the event loop: `async def` tasks, and a pool for many of them at once.

`Celery("mysite", task_cls="onloop.celery:Task")` is all that a project writes. Importing this
package loads neither Celery nor Django's database layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onloop.celery.errors import SelfCancelled
    from onloop.celery.pool import TaskPool
    from onloop.celery.task import Task

__all__ = ["SelfCancelled", "Task", "TaskPool"]


def __getattr__(name: str) -> Any:
    if name == "Task":
        from onloop.celery.task import Task  # noqa: PLC0415 - it needs Celery

        return Task
    if name == "TaskPool":
        from onloop.celery.pool import TaskPool  # noqa: PLC0415 - it needs Celery

        return TaskPool
    if name == "SelfCancelled":
        from onloop.celery.errors import SelfCancelled  # noqa: PLC0415 - with its neighbours

        return SelfCancelled
    raise AttributeError(f"module 'onloop.celery' has no attribute {name!r}")
