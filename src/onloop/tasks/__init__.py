"""Background tasks: backends for Django's tasks framework, the progress of jobs, their end.

An app of its own: put `"onloop.tasks"` into INSTALLED_APPS to have the state of each job in the
database. The backends work without. `TASKS` is Django's setting; before Django 6.0 that of the
package `django-tasks`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onloop.tasks.control import acancel, astate, cancel, drain, state
    from onloop.tasks.errors import JobCancelled, QueueClosed, QueueFull
    from onloop.tasks.inprocess import InProcessBackend
    from onloop.tasks.jobstate import State
    from onloop.tasks.oncelery import CeleryBackend
    from onloop.tasks.reports import owned_by, progress, should_stop

__all__ = [
    "CeleryBackend",
    "InProcessBackend",
    "JobCancelled",
    "QueueClosed",
    "QueueFull",
    "State",
    "acancel",
    "astate",
    "cancel",
    "drain",
    "owned_by",
    "progress",
    "should_stop",
    "state",
]

_PLACES = {
    "CeleryBackend": "oncelery",
    "InProcessBackend": "inprocess",
    "JobCancelled": "errors",
    "QueueClosed": "errors",
    "QueueFull": "errors",
    "State": "jobstate",
    "acancel": "control",
    "astate": "control",
    "cancel": "control",
    "drain": "control",
    "owned_by": "reports",
    "progress": "reports",
    "should_stop": "reports",
    "state": "control",
}


def __getattr__(name: str) -> Any:
    """Import each part when it is asked for: Django imports this package before its apps."""
    if name in _PLACES:
        return getattr(importlib.import_module(f"onloop.tasks.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'onloop.tasks' has no attribute {name!r}")
