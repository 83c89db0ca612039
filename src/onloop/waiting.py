"""Waiting for one another, in a bridge or in a plain thread.

`Waiter` is a one-shot hand-over to whoever waits: a bridge waits on the loop, a thread
blocks. Pool, turn and writer queue stand on it. The owner of a queue guards it with a
`threading.Lock` that is held for a few instructions and never over a wait; `Waiter.set` is
called under that lock, so a waiter that gives up finds out under the same lock whether it
was given something that it must pass on.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from greenlet import getcurrent

from onloop import bridge
from onloop.errors import BridgeRequired

T = TypeVar("T")


class Waiter(Generic[T]):
    """One caller that waits for one value.

    Raises `BridgeRequired` on a loop's thread outside a bridge, where waiting would block, and
    `GeneratorExit` in a bridge whose coroutine was closed.
    """

    __slots__ = ("_event", "_future", "_loop", "_thread", "done", "value")

    value: T

    def __init__(self) -> None:
        self.done = False
        self._future: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: threading.Event | None = None
        here = getcurrent()
        if type(here) is bridge.Bridge and here.closing:
            raise GeneratorExit
        if bridge.active():
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
        elif running_loop() is not None:
            raise BridgeRequired(
                "Synchronous code would have to wait here, on the thread of a running event "
                "loop. Run it with `await onloop.bridge.run(function, ...)`."
            )
        else:
            self._event = threading.Event()

    def set(self, value: T) -> None:
        """Hand over `value`; from any thread, once, under the lock of the queue's owner."""
        self.value = value
        self.done = True
        if self._loop is None:
            assert self._event is not None
            self._event.set()
        else:
            try:
                if threading.get_ident() == self._thread:
                    self._wake()
                else:
                    self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                pass  # `gone` meanwhile

    @property
    def gone(self) -> bool:
        """The loop is closed, and with it every task that could wait."""
        return self._loop is not None and self._loop.is_closed()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until `set`; return False after `timeout_s` seconds without it.

        A cancellation is raised at once. Where a `bridge.Shield` stands it is kept instead, and
        the wait ends at the shield's bound at the latest. Whatever way it ends, the owner must
        look at `done` under its lock.
        """
        if self._event is not None:
            return self._event.wait(timeout_s)
        loop = self._loop
        assert loop is not None
        deadline = math.inf if timeout_s is None else loop.time() + timeout_s
        shield = bridge.Shield.of_caller()
        if shield is not None and shield.deadline is not None:
            deadline = min(deadline, shield.deadline)
        while not self.done and loop.time() < deadline:
            self._future = loop.create_future()
            # Set anew each time: uvloop rounds to milliseconds, so a timer may be early.
            timer = None if deadline == math.inf else loop.call_at(deadline, self._wake)
            try:
                bridge.await_(self._future)
            except asyncio.CancelledError as exc:
                if shield is None:
                    raise
                deadline = min(deadline, shield.absorb(exc))
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        return self.done

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class FifoLock:
    """A lock whose waiters get it in the order in which they came; for bridges and threads.

    Unlike `asyncio.Lock` it belongs to no loop, and who holds it is the caller's business.
    """

    __slots__ = ("_guard", "_waiting", "locked")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[Waiter[None]] = deque()
        self.locked = False

    def acquire(self, timeout_s: float | None) -> bool:
        """Take the lock; return False if it could not be had within `timeout_s` seconds.

        None: however long it takes.
        """
        with self._guard:
            if not self.locked:
                self.locked = True
                return True
            waiter: Waiter[None] = Waiter()
            self._waiting.append(waiter)
        try:
            waiter.wait(timeout_s)
        except BaseException:
            if not self._abandon(waiter):
                self.release()
            raise
        return not self._abandon(waiter)

    def _abandon(self, waiter: Waiter[None]) -> bool:
        """Leave the queue; False if the lock was handed over meanwhile."""
        with self._guard:
            if waiter.done:
                return False
            if not waiter.gone:
                self._waiting.remove(waiter)
            return True

    def release(self) -> None:
        with self._guard:
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.gone:
                    waiter.set(None)
                    return
            self.locked = False


async def settled(tasks: Iterable[asyncio.Future[Any]], timeout_s: float | None = None) -> bool:
    """Wait until `tasks` are done; a cancellation of the caller is raised after that.

    Returns False after `timeout_s` seconds without their end. Their errors are not raised, nor
    told of as errors that nobody has looked at.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    cancelled: asyncio.CancelledError | None = None
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.add_done_callback(_look_at)
    while left:
        rest_s = None if deadline is None else deadline - loop.time()
        if rest_s is not None and rest_s <= 0:
            break
        try:
            await asyncio.wait(left, timeout=rest_s)
        except asyncio.CancelledError as exc:
            cancelled = exc
        left = {task for task in left if not task.done()}
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # no cycle of exception, traceback and this frame
    return not left


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def pause(seconds: float) -> None:
    """Sleep, without blocking the loop inside a bridge."""
    Waiter[None]().wait(seconds)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs on the caller's thread, if there is one."""
    return asyncio._get_running_loop()
