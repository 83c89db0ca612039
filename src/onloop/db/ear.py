"""Listening to the sockets of a loop's connections, without going to the loop for each wait.

`add_reader` and `remove_reader` take a third of what a wait on the loop costs, and a descriptor
that stays with the loop is dangerous: when its server hangs up the loop spins, and when libpq
closes it its number may be another connection's next.

So each loop watches one epoll of ours, and a connection is armed there for one event at a time.
What is not armed says nothing. What is closed is gone from it. Arming looks at the socket at
once, so that nothing is missed that came before; and an event that finds somebody else, because
a number was given anew, only makes him look once more.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import weakref
from collections.abc import Callable
from typing import Any, Protocol

# What is waited for, and what has come: bits, the same as psycopg's `Wait` and `Ready`.
READ = 1
WRITE = 2

Loop = asyncio.AbstractEventLoop
Callback = Callable[["Wait"], object]


class Wait:
    """One task's wait for a socket, which the task awaits as it would a future.

    asyncio's own future wakes its task in the next pass of the loop: a second look at every
    socket, and two calls of each thing on the way. Here the task goes on where its answer is
    heard. For whoever drives a coroutine by hand it is as asyncio's own, and so it is for the
    task if anybody else wants to be told.
    """

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_cancelled", "_loop", "ready")

    def __init__(self, loop: Loop) -> None:
        self._asyncio_future_blocking = False
        # A task looks here, or would call `get_loop()`.
        self._loop = loop
        self._callbacks: list[tuple[Callback, contextvars.Context]] = []
        self._cancelled: asyncio.CancelledError | None = None
        # The bits that the socket is ready for, once it is; none of them where something else
        # has ended the wait.
        self.ready: int | None = None

    def add_done_callback(
        self, fn: Callback, *, context: contextvars.Context | None = None
    ) -> None:
        # An empty context is false.
        self._callbacks.append((fn, contextvars.copy_context() if context is None else context))
        if self.done():
            self._call_soon()

    def remove_done_callback(self, fn: Callback) -> int:
        before = len(self._callbacks)
        self._callbacks = [entry for entry in self._callbacks if entry[0] != fn]
        return before - len(self._callbacks)

    def done(self) -> bool:
        return self.ready is not None or self._cancelled is not None

    def cancelled(self) -> bool:
        return self._cancelled is not None

    def exception(self) -> None:
        if self._cancelled is not None:
            raise self._cancelled

    def result(self) -> int | None:
        if self._cancelled is not None:
            raise self._cancelled
        return self.ready

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        self._cancelled = asyncio.CancelledError(*(() if msg is None else (msg,)))
        self._call_soon()
        return True

    def wake(self, ready: int) -> None:
        """End the wait, from anywhere on the loop's thread."""
        if not self.done():
            self.ready = ready
            self._call_soon()

    def wake_now(self, ready: int) -> None:
        """End the wait and let its task go on at once: from a callback of the loop only.

        Within a task it would be a step of one task inside another's.
        """
        if self.ready is None and self._cancelled is None:
            self.ready = ready
            if len(self._callbacks) == 1:
                fn, context = self._callbacks.pop()
                context.run(fn, self)
            else:
                self._call_soon()

    def _call_soon(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for fn, context in callbacks:
            self._loop.call_soon(fn, self, context=context)


class Ear(Protocol):
    """Hears for one loop when a socket is ready; on that loop's thread only."""

    loop: Loop

    def listen(self, fileno: int, state: int) -> Wait:
        """Return a wait that ends with the bits of `state` that the socket is ready for."""

    def forget(self, fileno: int, wait: Wait) -> None:
        """Stop listening for `wait`."""


class PlainEar:
    """For systems without epoll: the loop is asked anew each time."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def listen(self, fileno: int, state: int) -> Wait:
        wait = Wait(self.loop)
        if state & READ:
            self.loop.add_reader(fileno, self._hear, fileno, wait, READ)
        if state & WRITE:
            self.loop.add_writer(fileno, self._hear, fileno, wait, WRITE)
        return wait

    def forget(self, fileno: int, wait: Wait) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(fileno)
            self.loop.remove_writer(fileno)

    def _hear(self, fileno: int, wait: Wait, ready: int) -> None:
        self.forget(fileno, wait)
        wait.wake_now(ready)


if hasattr(select, "epoll"):
    _IN = select.EPOLLIN
    _EVENTS = {
        READ: select.EPOLLIN | select.EPOLLONESHOT,
        WRITE: select.EPOLLOUT | select.EPOLLONESHOT,
        READ | WRITE: select.EPOLLIN | select.EPOLLOUT | select.EPOLLONESHOT,
    }
    # So many are heard at once; what is ready beyond them is heard in the next pass.
    _AT_ONCE = 128

    class EpollEar:
        """One epoll for the connections of a loop; it is closed when that lets go of it."""

        def __init__(self, loop: Loop) -> None:
            self.loop = loop
            self._epoll = select.epoll()
            self._waiting: dict[int, Wait] = {}
            loop.add_reader(self._epoll.fileno(), self._hear)

        def fileno(self) -> int:
            return self._epoll.fileno()

        def listen(self, fileno: int, state: int) -> Wait:
            wait = self._waiting[fileno] = Wait(self.loop)
            try:
                self._epoll.modify(fileno, _EVENTS[state])
            except FileNotFoundError:  # it waits for the first time
                self._epoll.register(fileno, _EVENTS[state])
            return wait

        def forget(self, fileno: int, wait: Wait) -> None:
            if self._waiting.get(fileno) is wait:
                del self._waiting[fileno]

        def _hear(self) -> None:
            heard = iter(self._epoll.poll(0, _AT_ONCE))
            try:
                for fileno, events in heard:
                    wait = self._waiting.pop(fileno, None)
                    if wait is not None:
                        wait.wake_now(READ if events == _IN else _bits(events))
            finally:
                # A task has ended the loop (`SystemExit`); the others hear if it goes on.
                for fileno, events in heard:
                    wait = self._waiting.pop(fileno, None)
                    if wait is not None:
                        wait.wake(_bits(events))

    def _bits(events: int) -> int:
        # An error or the end is for who reads to find out.
        ready = READ if events & ~select.EPOLLOUT else 0
        return ready | WRITE if events & select.EPOLLOUT else ready


# Weakly: the loop keeps its ear, until it is closed.
_ears: weakref.WeakKeyDictionary[Loop, weakref.ref[Any]] = weakref.WeakKeyDictionary()


def ear_of(loop: Loop) -> Ear:
    """Return the ear of `loop`, which runs in this thread."""
    if not hasattr(select, "epoll"):
        return PlainEar(loop)
    known = _ears.get(loop)
    ear: EpollEar | None = None if known is None else known()
    if ear is None:
        ear = EpollEar(loop)
        _ears[loop] = weakref.ref(ear)
    return ear


def descriptors() -> set[int]:
    """Return the descriptors of all ears: they belong to their loops, and are no leak."""
    ears = [reference() for reference in list(_ears.values())]
    return {ear.fileno() for ear in ears if ear is not None}


# A forked child must not touch its parent's epoll: it is one and the same for both.
os.register_at_fork(after_in_child=_ears.clear)
