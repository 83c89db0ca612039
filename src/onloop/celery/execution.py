"""One run of a task's code on the loop, and how it is interrupted from outside.

Limits and revocation are for the task's own code. What Celery does before and after it (the
state, the result, the next of a chain) is left to finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded

from onloop.bridge import await_
from onloop.celery.errors import SelfCancelled, SoftLimit

T = TypeVar("T")

# Seconds after which a task that has caught its cancellation is cancelled again.
AGAIN_S = 5.0

current: ContextVar[Execution | None] = ContextVar("onloop_celery_execution", default=None)


class Execution:
    """Where a task's code is. To be used on the loop's own thread, but for reading `ended`."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.ended = False
        self._at: Literal["before", "inside", "after"] = "before"
        self._soft: SoftLimit | None = None
        self._again: asyncio.TimerHandle | None = None

    # --- from outside -------------------------------------------------------------------------

    def limit(self, limit: SoftLimit) -> None:
        """Raise `limit` where the task waits; before its code begins, at its beginning."""
        if self._at == "after" or self.ended:
            return
        self._soft = limit
        if self._at == "inside":
            self._cancel()

    def end(self) -> None:
        """Cancel the task for good: whatever its code makes of it, it does not succeed."""
        if self._at == "after":
            return
        self.ended = True
        if self._at == "inside":
            self._cancel()
            loop = asyncio.get_running_loop()
            if self._again is not None:
                self._again.cancel()
            self._again = loop.call_later(AGAIN_S, self.end)

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    # --- from inside --------------------------------------------------------------------------

    def guard(self, function: Callable[[], T]) -> T:
        with self.inside():
            return function()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Stand around the task's code, the outermost time; inner ones change nothing.

        Raises `SoftTimeLimitExceeded` for a `SoftLimit`, `asyncio.CancelledError` if it was
        ended, however it took that, and `SelfCancelled` if it was not and says so.
        """
        if self._at != "before":
            yield
            return
        self._at = "inside"
        try:
            if self.ended:
                raise asyncio.CancelledError
            if self._soft is not None:
                raise self._soft
            yield
        except SoftLimit as exc:
            if self.ended:
                raise asyncio.CancelledError from exc
            raise SoftTimeLimitExceeded(*exc.args) from None
        except asyncio.CancelledError as exc:
            if self.ended:
                raise
            raise SelfCancelled(
                "The task ended by asyncio.CancelledError, and nobody had revoked it: what it "
                "awaited was cancelled by its own code. Catch it there, or raise "
                "celery.exceptions.Ignore."
            ) from exc
        except BaseException as exc:
            if self.ended:
                raise asyncio.CancelledError from exc
            raise
        finally:
            self._at = "after"
            self._soft = None
            if self._again is not None:
                self._again.cancel()
        if self.ended:
            raise asyncio.CancelledError

    def translate(self, exc: BaseException) -> BaseException:
        """Return what is raised in the task's code in place of `exc`, which the loop throws."""
        limit = self._soft
        if limit is None or self.ended or not isinstance(exc, asyncio.CancelledError):
            return exc
        self._soft = None
        if self.task is not None:
            self.task.uncancel()
        return limit


class Interruptible(Coroutine[Any, Any, T]):
    """A task's coroutine, in which a cancellation becomes what the execution says.

    It stands outside of all bridges, so that it does not matter what the task waits for.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], execution: Execution) -> None:
        self._coro = coro
        self._execution = execution
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *exc: Any) -> Any:
        given = exc[0] if isinstance(exc[0], BaseException) else exc[-1]
        if isinstance(given, BaseException):
            return self._coro.throw(self._execution.translate(given))
        return self._coro.throw(*exc)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("cr_"):  # what debuggers and `Task.get_stack()` ask for
            return getattr(self._coro, name)
        raise AttributeError(name)


def awaited(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `make` makes, in the bridge of the caller, as the task's code."""
    execution = current.get()
    if execution is None:
        return await_(make())
    with execution.inside():
        return await_(make())
