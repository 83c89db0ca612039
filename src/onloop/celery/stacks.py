"""Celery's stacks of current tasks and requests, kept per context in place of per greenlet.

Celery finds `task.request` and `current_task` by the greenlet or thread of the caller. A task
on the loop has children (`asyncio.gather`, and `asyncio.wait_for` on Python 3.11) and hops into
threads; they see its request as they see its language, by their context. What a child pushes is
not seen by its parent.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class ContextStack:
    """What `celery.utils.threads.LocalStack` is, on a context variable."""

    __slots__ = ("_held",)

    def __init__(self, name: str) -> None:
        self._held: ContextVar[tuple[Any, ...]] = ContextVar(name, default=())

    def push(self, item: Any) -> list[Any]:
        held = (*self._held.get(), item)
        self._held.set(held)
        return list(held)

    def pop(self) -> Any:
        """Take the topmost off, and return it; None if there is none."""
        held = self._held.get()
        if not held:
            return None
        self._held.set(held[:-1])
        return held[-1]

    @property
    def top(self) -> Any:
        held = self._held.get()
        return held[-1] if held else None

    @property
    def stack(self) -> list[Any]:
        return list(self._held.get())

    def __len__(self) -> int:
        return len(self._held.get())


current_tasks = ContextStack("onloop_celery_tasks")

# Whether Celery's own code calls a task as a function, and does not await what it returns.
by_celery: ContextVar[bool] = ContextVar("onloop_celery_calls", default=False)
