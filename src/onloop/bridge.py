"""Run synchronous code on the event loop, in a greenlet that waits by switching out.

The greenlet hands each future that it waits for to its driver, the driver yields it to the
event loop, and what comes back is sent or thrown in. That one protocol runs plain functions
(`run(fn)`) and whole coroutines (`run(await_, coro)`) alike. SQLAlchemy's asyncio extension
has worked this way for years; `greenback`, `greenletio` and Peewee do too.

This module knows asyncio and greenlet and nothing else. It must never import Django or a
driver, never hold a lock over a switch, and never leave a suspended greenlet behind.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from onloop.errors import BridgeRequired, LoopRequired

__all__ = [
    "Bridge",
    "Shield",
    "active",
    "await_",
    "await_future",
    "current",
    "drive",
    "interrupts",
    "run",
]

P = ParamSpec("P")
T = TypeVar("T")

_current_task = asyncio.current_task


_NOBODY: Any = object()


class Future(Protocol):
    """What a bridge asks of a future; its task asks more."""

    _asyncio_future_blocking: bool


class Bridge(greenlet):
    """A greenlet that runs synchronous code on the loop, for one task at a time."""

    # SQLAlchemy's asyncio extension accepts any greenlet class that says so.
    __sqlalchemy_greenlet_provider__ = True

    # Its own only while it runs something: no task's and no loop's otherwise, since a finaliser
    # may run in one that is thrown away.
    task: asyncio.Task[Any] = _NOBODY
    loop: asyncio.AbstractEventLoop = _NOBODY
    # The function has returned `result`, or `raised` something; so until there is another.
    finished: bool = False
    result: Any = None
    raised: BaseException | None = None
    # The coroutine was closed: nothing can be awaited any more, only cleaned up.
    closing: bool = False
    # Called once, before the bridge first hands a future to the loop. The request handler
    # starts to watch for the client's leaving here: who never waits cannot be cancelled.
    before_first_wait: Callable[[], None] | None = None


def current() -> Bridge | None:
    """Return the bridge of the current task that the caller runs in, if there is one.

    The task is compared, not only the type of the greenlet: with an eager task factory a
    child's first step runs inside its parent's greenlet, and must not wait there.
    """
    bridge = getcurrent()
    # With the loop named, `current_task` does not mind that it has ended.
    if type(bridge) is Bridge and bridge.task is _current_task(bridge.loop):
        return bridge
    return None


def active() -> bool:
    """Tell whether the caller runs inside a bridge *of the current task*."""
    bridge = getcurrent()
    return type(bridge) is Bridge and bridge.task is _current_task(bridge.loop)


def await_(awaitable: Awaitable[T]) -> T:
    """Wait for `awaitable` from synchronous code inside a bridge, without blocking the loop.

    Returns what the awaitable returns and raises what it raises; a cancellation of the task
    arrives here as `asyncio.CancelledError`.

    Raises `onloop.errors.BridgeRequired` where there is no bridge of the current task, and
    `GeneratorExit` where there will be no more waiting because its coroutine was closed.
    """
    bridge = getcurrent()
    if type(bridge) is not Bridge or (
        bridge.task is not _current_task(bridge.loop) and not bridge.closing
    ):
        if isinstance(awaitable, Coroutine):
            awaitable.close()
        raise BridgeRequired(
            "onloop.bridge.await_() was called outside a bridge. Inside `async def` code "
            "write `await ...` instead; to call synchronous code that waits, use "
            "`await onloop.bridge.run(function, ...)`; in a plain thread use "
            "`onloop.async_to_sync(function)(...)`."
        )
    if isinstance(awaitable, types.CoroutineType | types.GeneratorType):
        steps: Any = awaitable
    else:
        steps = awaitable.__await__()
        if not hasattr(steps, "send"):
            steps = _through(steps)  # a bare iterator, as Granian's
    if bridge.closing:
        close = getattr(steps, "close", None)
        if close is not None:
            close()
        raise GeneratorExit
    try:
        out = steps.send(None)
        if bridge.before_first_wait is not None:
            hook, bridge.before_first_wait = bridge.before_first_wait, None
            hook()
        while True:
            try:
                sent = bridge.parent.switch(out)  # type: ignore[union-attr]
            except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to the awaitable
                thrown = exc
            else:
                out = steps.send(sent)
                continue
            try:
                out = steps.throw(thrown)
            finally:
                del thrown
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def interrupts(exc: BaseException) -> bool:
    """Tell whether `exc` broke a wait off, in place of coming from what was waited for.

    A cancellation can be an `Exception` as well: a task's soft time limit is.
    """
    return not isinstance(exc, Exception) or isinstance(exc, asyncio.CancelledError)


def await_future(here: Bridge, future: Future) -> None:
    """As `await_`, for a new future of the loop, in the caller's own bridge `here`.

    Each query comes by: the half of what `await_` does is about other awaitables. Returns when
    the future is done; raises what it raises.
    """
    if here.closing:
        raise GeneratorExit
    if here.before_first_wait is not None:
        hook, here.before_first_wait = here.before_first_wait, None
        hook()
    # As `Future.__await__` does it, which tells the task that it was not yielded by mistake.
    future._asyncio_future_blocking = True
    here.parent.switch(future)  # type: ignore[union-attr]


def _through(steps: Iterator[Any]) -> Generator[Any, Any, Any]:
    return (yield from steps)


async def run(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the synchronous `fn` on the event loop, in a greenlet of the current task.

    Where `fn` waits through `await_`, the loop goes on with other tasks. Context variables,
    `asyncio.current_task()`, `sys.exc_info()`, exceptions and cancellation behave as if `fn`
    were a part of the calling coroutine. Inside an active bridge it is called directly.

    Raises `onloop.errors.LoopRequired` where no asyncio task is running.
    """
    if active():
        return fn(*args, **kwargs)
    if (handled := sys.exception()) is not None:
        # A greenlet starts with no exception of its own being handled, but receivers of
        # Django's `got_request_exception` expect `sys.exc_info()` to be set.
        return await drive(_while_handling, (handled, fn, args, kwargs), {})
    return await drive(fn, args, kwargs)


def _while_handling(
    handled: BaseException, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    traceback = handled.__traceback__
    try:
        raise handled
    except BaseException:  # noqa: BLE001 - it is only put into place, never swallowed
        handled.__traceback__ = traceback
        return fn(*args, **kwargs)


@types.coroutine
def drive(
    fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Any, Any, T]:
    """Drive one bridge: yield what it waits for, send in what comes back."""
    try:
        task = _current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise LoopRequired("onloop.bridge.run() must be awaited inside an asyncio task.")
    caller = getcurrent()
    if _idle.bridges:
        bridge = _idle.bridges.pop()
        bridge.parent = caller
    else:
        bridge = Bridge(_work, caller)
    bridge.task = task
    bridge.loop = task.get_loop()
    bridge.gr_context = caller.gr_context
    bridge.finished = False
    out = bridge.switch(fn, args, kwargs)
    while not (bridge.finished or bridge.dead):
        thrown: BaseException | None = None
        sent: Any = None
        try:
            if out is None or getattr(out, "_asyncio_future_blocking", False):
                sent = yield out
            else:
                # SQLAlchemy hands over whole awaitables, futures that nobody awaits yet too.
                sent = yield from out.__await__()
        except GeneratorExit:
            _unwind(bridge)
            raise
        except BaseException as exc:  # noqa: BLE001 - it belongs to the code in the bridge
            thrown = exc
        # An eager task starts in its parent's greenlet and goes on in the loop's.
        bridge.parent = getcurrent()
        if thrown is None:
            out = bridge.switch(sent)
        else:
            try:
                # By itself it would come without its traceback: greenlet begins a new one.
                out = bridge.throw(type(thrown), thrown, thrown.__traceback__)
            finally:
                del thrown
    result, bridge.result = bridge.result, None
    error, bridge.raised = bridge.raised, None
    _put_away(bridge)
    if error is None:
        return result  # type: ignore[no-any-return]
    try:
        raise error
    finally:
        del error  # no cycle of exception, traceback and this frame


# --- Using greenlets again ------------------------------------------------------------------
# The first switch to a new greenlet makes CPython map memory for its stack, and unmap it at its
# end: 11 of the 12 µs that a bridge took. So each thread keeps some that have nothing to do.

KEPT_BRIDGES = 64


class _Idle(threading.local):
    def __init__(self) -> None:
        self.bridges: list[Bridge] = []


_idle = _Idle()


def _work(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """What a bridge runs: one function after another, until nobody keeps it any more.

    While it waits for the next, its frame refers to nothing, least of all to the bridge itself:
    a suspended greenlet in a reference cycle is never collected before Python 3.15.
    """
    here: Any
    driver: Any
    while True:
        try:
            result = fn(*args, **kwargs)
        except GreenletExit:
            raise
        except BaseException as exc:  # noqa: BLE001 - `drive` raises it
            here = getcurrent()
            # Without this frame, which goes on.
            here.raised = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
        else:
            here = getcurrent()
            here.result = result
            del result
        here.finished = True
        driver = here.parent
        del here, fn, args, kwargs
        fn, args, kwargs = driver.switch()


def _put_away(bridge: Bridge) -> None:
    del bridge.task
    bridge.gr_context = None
    bridge.before_first_wait = None
    if len(_idle.bridges) < KEPT_BRIDGES and not bridge.dead:
        _idle.bridges.append(bridge)


def _unwind(bridge: Bridge) -> None:
    """End a bridge whose coroutine was closed, so that no suspended greenlet stays behind.

    A suspended greenlet in a reference cycle is never collected before Python 3.15. Inside,
    `GeneratorExit` is raised at the wait and again at every further attempt to wait.
    """
    bridge.closing = True
    try:
        bridge.parent = getcurrent()
    except ValueError:
        return  # in a foreign thread: greenlet disposes of the stack together with its own
    try:
        while not (bridge.finished or bridge.dead):
            bridge.throw(GeneratorExit)
        if bridge.raised is not None and not isinstance(bridge.raised, GeneratorExit):
            raise bridge.raised
    finally:
        bridge.raised = bridge.result = None


# --- Shielding the end of a transaction -----------------------------------------------------


class Shield:
    """Hold back a cancellation of the current task until the end of a `with` block.

    The waits of Onloop's own primitives look here (`absorb`); what they hold back is raised
    when the outermost shield of the bridge ends. Outside a bridge it does nothing. Modelled
    on SQLAlchemy's `_run_to_completion`.

    `bound_s`: seconds that the block may go on once a cancellation has arrived. `begun`: it has
    arrived before, and brought the task here, so that the time runs from the beginning.
    """

    __slots__ = ("_begun", "_bridge", "_outer", "bound_s", "cancelled", "deadline")
    _active: contextvars.ContextVar[Shield | None] = contextvars.ContextVar(
        "onloop_shield", default=None
    )

    def __init__(self, bound_s: float, *, begun: bool = False) -> None:
        self.bound_s = bound_s
        self._begun = begun
        self.cancelled: asyncio.CancelledError | None = None
        self.deadline: float | None = None
        self._bridge: Bridge | None = None
        self._outer: Shield | None = None

    @classmethod
    def of_caller(cls) -> Shield | None:
        """Return the shield that the caller stands under, if it is one of its own bridge."""
        shield = cls._active.get()
        return shield if shield is not None and shield._bridge is getcurrent() else None

    def __enter__(self) -> Shield:
        here = getcurrent()
        outer = self._outer = Shield._active.get()
        self._bridge = here if type(here) is Bridge and active() else None
        if self._bridge is not None:
            if outer is not None and outer._bridge is here:
                self.deadline = outer.deadline
            if self._begun and self.deadline is None:
                self.deadline = self._bridge.loop.time() + self.bound_s
        Shield._active.set(self)
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, tb: object) -> None:
        Shield._active.set(self._outer)
        self._bridge = None  # which may be somebody else's soon
        cancelled, self.cancelled = self.cancelled, None
        if cancelled is None:
            return
        outer = Shield.of_caller()
        if outer is not None:
            outer.absorb(cancelled)
            return
        try:
            raise cancelled
        finally:
            del cancelled  # no cycle of exception, traceback and this frame

    def absorb(self, cancelled: asyncio.CancelledError) -> float:
        """Keep the cancellation for the end of the block; return the loop time of the bound."""
        self.cancelled = cancelled
        if self.deadline is None:
            self.deadline = asyncio.get_running_loop().time() + self.bound_s
        return self.deadline
