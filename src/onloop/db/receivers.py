"""The async receivers of a signal, run in parallel: one context, but a transaction each.

Django 6 runs them in tasks that share one context, so that values of context variables go from
one to another and back to the sender. Blocks of `atomic`, scopes and shields are context
variables too: what one receiver opened would be the others' as well.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from onloop.bridge import Shield
from onloop.db import node, scope
from onloop.taskfactory import BridgedCoroutine, bridge_tasks

# What belongs to a task, also where it shares its context with others.
_OWN: tuple[contextvars.ContextVar[Any], ...] = (
    node._blocks,
    scope._made_in,
    bridge_tasks,
    Shield._active,
)


class ApartCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine that keeps what is its own in `_OWN` whenever another one has its turn."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        # In its bridge from here on: what waits in one does not come through the coroutine.
        self._coro: Any = BridgedCoroutine(coro) if bridge_tasks.get() else coro
        self._own = [variable.get() for variable in _OWN]
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        return self._step(self._coro.send, value)

    def throw(self, *exc: Any) -> Any:
        return self._step(self._coro.throw, *exc)

    def close(self) -> None:
        self._step(self._coro.close)

    def __await__(self) -> Any:
        raise TypeError("It is driven by a task.")

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        shared = self._change(self._own)
        try:
            return step(*args)
        finally:
            self._own = self._change(shared)

    @staticmethod
    def _change(values: list[Any]) -> list[Any]:
        before = []
        for variable, value in zip(_OWN, values, strict=True):
            before.append(variable.get())
            if before[-1] is not value:
                variable.set(value)
        return before

    def __getattr__(self, name: str) -> Any:
        if name.startswith("cr_"):  # what debuggers and `Task.get_stack()` ask for
            return getattr(self._coro, name)
        raise AttributeError(name)


async def run_parallel(*coros: Coroutine[Any, Any, Any]) -> list[Any]:
    """Stand for `_run_parallel` of Django 6's `django.dispatch.dispatcher`.

    Raises what a single receiver raises, else the group.
    """
    shared = contextvars.copy_context()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ApartCoroutine(coro), context=shared) for coro in coros]
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise
    finally:
        for variable, value in shared.items():
            if variable not in _OWN and variable.get(None) is not value:
                variable.set(value)
    return [task.result() for task in tasks]
