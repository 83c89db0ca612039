"""The one table of names in Celery that are bound to Onloop's, when `onloop.celery.Task` is.

It is additive and can be taken back. Names of Django, asgiref and Channels stand in
`onloop.rebind`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from onloop.celery.hops import hopping
from onloop.celery.stacks import by_celery, current_tasks

# What sends messages hops into a thread in a bridge. A group keeps a connection to the broker
# while it sends its parts, so it hops as a whole: on the loop it could wait for the connections
# of others that cannot go on.
SENDING = (
    ("celery.app.base", "Celery.send_task"),
    ("celery.canvas", "group.apply_async"),
    ("celery.canvas", "_chord.apply_async"),
    ("celery.canvas", "_chord.run"),
)
# What calls errbacks by itself, if they take the request, the error and its traceback.
ERRBACKS = ("celery.backends.base", "Backend._call_task_errbacks")
# Each has imported the name.
CURRENT_TASK = ("celery._state", "celery.app.base", "celery.app.task", "celery.app.trace")

_originals: dict[tuple[str, str], Any] = {}


def install() -> None:
    """Bind the names; harmless when they are."""
    for module, name in SENDING:
        _bind(module, name, _unless_eager)
    _bind(*ERRBACKS, _by_celery)
    for module in CURRENT_TASK:
        _bind(module, "_task_stack", lambda _: current_tasks)


def uninstall() -> None:
    """Put every name back as it was."""
    for (module, name), before in _originals.items():
        owner, attribute = _owner(module, name)
        setattr(owner, attribute, before)
    _originals.clear()


def _unless_eager(method: Callable[..., Any]) -> Callable[..., Any]:
    """Eager tasks run where they are called, in the caller's transaction, not in a thread."""
    hops = hopping(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # An app has its settings itself, a signature those of its app.
        app = self if hasattr(self, "conf") else self.app
        if app.conf.task_always_eager:
            return method(self, *args, **kwargs)
        return hops(self, *args, **kwargs)

    return call


def _by_celery(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let `async def` errbacks be run by the call, which Celery does not await."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        token = by_celery.set(True)
        try:
            return method(*args, **kwargs)
        finally:
            by_celery.reset(token)

    return call


def _bind(module: str, name: str, make: Callable[[Any], Any]) -> None:
    if (module, name) not in _originals:
        owner, attribute = _owner(module, name)
        before = _originals[module, name] = vars(owner)[attribute]
        setattr(owner, attribute, make(before))


def _owner(module: str, name: str) -> tuple[Any, str]:
    owner: Any = importlib.import_module(module)
    *path, attribute = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, attribute
