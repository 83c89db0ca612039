"""Tasks that are made inside a scope run in a bridge of their own.

Without that, the same view would work on one Python version and fail on another, where
`asyncio.wait_for` makes a task. The factory composes with the one that it finds.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from onloop.bridge import await_, drive

T = TypeVar("T")

# True where tasks that are created run in a bridge of their own.
bridge_tasks: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "onloop_bridge_tasks", default=False
)


class BridgedCoroutine(Coroutine[Any, Any, T]):
    """A coroutine that is driven inside a bridge, and looks like the one that it wraps.

    Not an `async def` around it: a task that is cancelled before its first step would then
    never start the inner coroutine, and Python would warn that it was never awaited.
    """

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro = coro
        self._steps: Generator[Any, Any, T] | None = None
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *exc: Any) -> Any:
        if self._steps is None:
            return self._coro.throw(*exc)
        return self._steps.throw(*exc)

    def close(self) -> None:
        if self._steps is None:
            self._coro.close()
        else:
            self._steps.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return (yield from self._begun())

    def _begun(self) -> Generator[Any, Any, T]:
        if self._steps is None:
            self._steps = drive(await_, (self._coro,), {})
        return self._steps

    def __getattr__(self, name: str) -> Any:
        if name.startswith("cr_"):  # what debuggers and `Task.get_stack()` ask for
            return getattr(self._coro, name)
        raise AttributeError(name)


class TaskFactory:
    """Creates tasks as the factory it found would, bridged where `bridge_tasks` says so."""

    def __init__(self, inner: Callable[..., Any] | None) -> None:
        self.inner = inner
        if (plain := _constructor_of_eager(inner)) is not None:
            # anyio's task groups cannot have eager tasks, since a child would run before it is
            # known to be one. They know Python's eager factory by its code, and take the plain
            # constructor of tasks out of its closure.
            self.__code__ = inner.__code__  # type: ignore[union-attr]
            self.__closure__ = (types.CellType(functools.partial(_construct, plain)),)

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        coro = _bridged(coro, kwargs.get("context"))
        if self.inner is None:
            return asyncio.Task(coro, loop=loop, **kwargs)
        return self.inner(loop, coro, **kwargs)


def _bridged(coro: Any, context: contextvars.Context | None) -> Any:
    wanted = bridge_tasks.get() if context is None else context.get(bridge_tasks, False)
    if wanted and isinstance(coro, types.CoroutineType):
        return BridgedCoroutine(coro)
    return coro


def _construct(plain: Callable[..., Any], coro: Any, **kwargs: Any) -> Any:
    return plain(_bridged(coro, kwargs.get("context")), **kwargs)


def _constructor_of_eager(factory: Any) -> Callable[..., Any] | None:
    """Return what makes the tasks of `factory`, if that is Python's own eager one."""
    eager = getattr(asyncio, "eager_task_factory", None)  # since Python 3.12
    closure = getattr(factory, "__closure__", None)
    if eager is None or not closure or getattr(factory, "__code__", None) is not eager.__code__:
        return None
    return closure[0].cell_contents  # type: ignore[no-any-return]


def install_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    """Make `loop` create tasks through `TaskFactory`, around the factory that it has."""
    factory = loop.get_task_factory()
    if type(factory) is not TaskFactory:
        loop.set_task_factory(TaskFactory(factory))
