"""Forced windows: hold whoever reaches a function there, while something else happens.

A race is made certain by stopping one side of it at a named place. The function is wrapped for
the duration; tasks, bridges and threads that call it wait until they are released.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

from onloop import bridge
from onloop.waiting import running_loop

Target = str | tuple[object, str]

TIMEOUT_S = 10.0
_MISSING = object()


class WindowError(AssertionError):
    """A window was not reached, or not released, in time."""


class _Gate:
    """Opened once, from any thread; coroutines of any loop and threads wait for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._event = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def open(self) -> None:
        with self._guard:
            self._event.set()
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                pass  # that loop is closed, and nobody waits in it any more

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    async def await_(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        with self._guard:
            if self._event.is_set():
                return True
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, future))
        await asyncio.wait({future}, timeout=timeout_s)
        return future.done()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@dataclass(frozen=True)
class Arrival:
    """Who reached the window: the name of a task or thread, and what it called with."""

    who: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Window:
    """One function at which callers are held, while the `with` block lasts.

    `target`: a dotted path ("onloop.db.pool.Pool.put"), or an object and the name of its
    attribute. Callers are held `before` the call, or `after` it has returned. `only`: holds
    those calls for whose arguments it is true; the others pass.

    `cancellable`: whether a task that is held can be cancelled there. By default a coroutine
    function can. A synchronous function cannot: where it does not wait, no cancellation
    arrives, so one that comes while it is held is delivered at the task's next wait.

    Holding ends with `release`, with the block, or after `timeout_s` seconds with
    `WindowError` in the one that is held. Synchronous code is held in a bridge or a thread;
    a call on a loop's thread outside a bridge passes, and makes `reached` say so.
    """

    def __init__(
        self,
        target: Target,
        *,
        before: bool = False,
        after: bool = False,
        only: Callable[..., bool] | None = None,
        cancellable: bool | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if before and after:
            raise ValueError("A window is before a function or after it; use two for both.")
        self.target = target
        self.after = after
        self.timeout_s = timeout_s
        self.arrivals: list[Arrival] = []
        self._only = only
        self._cancellable = cancellable
        self._reached = _Gate()
        self._released = _Gate()
        self._passed_unheld = 0
        self._owner: Any = None
        self._name = ""
        self._original: Any = _MISSING

    # --- the test's side --------------------------------------------------------------------

    async def reached(self) -> Arrival:
        """Wait until somebody is held here; return the first.

        Raises `WindowError` after `timeout_s` seconds.
        """
        return self._first(await self._reached.await_(self.timeout_s))

    def wait_reached(self) -> Arrival:
        """`reached`, for tests without a loop."""
        return self._first(self._reached.wait(self.timeout_s))

    def release(self) -> None:
        """Let those who are held go on, and everybody who comes later pass; any thread."""
        self._released.open()

    def _first(self, reached: bool) -> Arrival:
        if not reached:
            unheld = (
                f" {self._passed_unheld} calls came from a loop's thread outside a bridge, "
                "where nothing can be held."
                if self._passed_unheld
                else ""
            )
            raise WindowError(
                f"{self._described} was not reached within {self.timeout_s:g} s.{unheld}"
            )
        return self.arrivals[0]

    # --- putting it into place --------------------------------------------------------------

    def __enter__(self) -> Window:
        if self._owner is not None:
            raise RuntimeError(f"{self._described} is in place already.")
        owner, name = _resolve(self.target)
        found = inspect.getattr_static(owner, name)
        wrapper: Any
        if not isinstance(owner, type | ModuleType):
            wrapper = self._wrap(getattr(owner, name))  # bound already
        elif isinstance(found, staticmethod | classmethod):
            wrapper = type(found)(self._wrap(found.__func__))
        else:
            wrapper = self._wrap(found)
        original = vars(owner).get(name, _MISSING)
        setattr(owner, name, wrapper)
        self._owner, self._name, self._original = owner, name, original
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Window:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the window away and release whoever is held. Harmless when it is gone."""
        owner, self._owner = self._owner, None
        if owner is not None:
            if self._original is _MISSING:  # it was inherited
                delattr(owner, self._name)
            else:
                setattr(owner, self._name, self._original)
        self.release()

    @property
    def _described(self) -> str:
        name = self.target if isinstance(self.target, str) else self.target[1]
        return f"The window {'after' if self.after else 'before'} {name!r}"

    # --- the side of those who are held -----------------------------------------------------

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def held_coroutine(*args: Any, **kwargs: Any) -> Any:
                if not self.after:
                    await self._hold_task(args, kwargs, True)
                result = await function(*args, **kwargs)
                if self.after:
                    await self._hold_task(args, kwargs, True)
                return result

            return held_coroutine

        @functools.wraps(function)
        def held(*args: Any, **kwargs: Any) -> Any:
            if not self.after:
                self._hold(args, kwargs)
            result = function(*args, **kwargs)
            if self.after:
                self._hold(args, kwargs)
            return result

        return held

    def _arrive(self, who: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Note an arrival; False if this call passes."""
        if self._released.is_open or (
            self._only is not None and not self._only(*args, **kwargs)
        ):
            return False
        self.arrivals.append(Arrival(who, args, kwargs))
        self._reached.open()
        return True

    def _hold(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if bridge.active():
            bridge.await_(self._hold_task(args, kwargs, False))
        elif running_loop() is not None:
            self._passed_unheld += 1
        elif self._arrive(threading.current_thread().name, args, kwargs):
            self._check_released(self._released.wait(self.timeout_s))

    async def _hold_task(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], cancellable: bool
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self._arrive(task.get_name(), args, kwargs):
            return
        if self._cancellable is not None:
            cancellable = self._cancellable
        cancelled = 0
        while True:
            try:
                released = await self._released.await_(self.timeout_s)
                break
            except asyncio.CancelledError:
                if cancellable:
                    raise
                cancelled += 1
        for _ in range(cancelled):
            # Asked for again, of the running task: it arrives at the next wait.
            task.uncancel()
        for _ in range(cancelled):
            task.cancel()
        self._check_released(released)

    def _check_released(self, released: bool) -> None:
        if not released:
            raise WindowError(
                f"{self._described} was not released within {self.timeout_s:g} s."
            )


class ForcedWindow:
    """Makes windows and closes all of them at the end; the fixture `forced_window` is one."""

    def __init__(self) -> None:
        self._windows: list[Window] = []

    def at(
        self,
        target: Target,
        *,
        before: bool = False,
        after: bool = False,
        only: Callable[..., bool] | None = None,
        cancellable: bool | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Window:
        """Return a `Window`, for `with` or `async with`."""
        window = Window(
            target,
            before=before,
            after=after,
            only=only,
            cancellable=cancellable,
            timeout_s=timeout_s,
        )
        self._windows.append(window)
        return window

    def close(self) -> None:
        for window in reversed(self._windows):
            window.close()


def _resolve(target: Target) -> tuple[Any, str]:
    """Return the object that has the function, and its name there."""
    if not isinstance(target, str):
        return target
    *parts, name = target.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            owner: Any = importlib.import_module(module)
        except ModuleNotFoundError as exc:
            if exc.name is None or not (module + ".").startswith(exc.name + "."):
                raise  # the module is there, and something that it imports is not
            continue
        for part in parts[end:]:
            owner = getattr(owner, part)
        return owner, name
    raise ValueError(f"There is no module in the dotted path {target!r}.")
