"""What the watchdog says of a stack in a worker: which task holds the loop, and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

TASKS = "onloop.celery.task"


def explain(frames: Sequence[FrameType]) -> tuple[str, str]:
    """Return the task, and the cure; "" for what cannot be told.

    It runs in the watchdog's thread: it changes nothing, and calls nothing of the user's.
    """
    told, cure = "", ""
    for frame in frames:
        if frame.f_globals.get("__name__") == TASKS and frame.f_code.co_name == "__call__":
            task: Any = frame.f_locals.get("self")
            told = f"task {task.name}"
            cure = "" if task.is_async else "mark the task's function @onloop.in_thread"
    return told, cure
