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
import os
import select
import weakref
from typing import Any, Protocol

# What is waited for, and what has come: bits, the same as psycopg's `Wait` and `Ready`.
READ = 1
WRITE = 2

Loop = asyncio.AbstractEventLoop
Future = asyncio.Future[Any]


class Ear(Protocol):
    """Hears for one loop when a socket is ready; on that loop's thread only."""

    loop: Loop

    def listen(self, fileno: int, state: int, future: Future) -> None:
        """Give `future` the bits of `state` that the socket is ready for, once it is."""

    def forget(self, fileno: int, future: Future) -> None:
        """Stop listening for `future`."""


class PlainEar:
    """For systems without epoll: the loop is asked anew each time."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def listen(self, fileno: int, state: int, future: Future) -> None:
        if state & READ:
            self.loop.add_reader(fileno, self._hear, fileno, future, READ)
        if state & WRITE:
            self.loop.add_writer(fileno, self._hear, fileno, future, WRITE)

    def forget(self, fileno: int, future: Future) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(fileno)
            self.loop.remove_writer(fileno)

    def _hear(self, fileno: int, future: Future, ready: int) -> None:
        self.forget(fileno, future)
        if not future.done():
            future.set_result(ready)


if hasattr(select, "epoll"):
    _EVENTS = {
        READ: select.EPOLLIN | select.EPOLLONESHOT,
        WRITE: select.EPOLLOUT | select.EPOLLONESHOT,
        READ | WRITE: select.EPOLLIN | select.EPOLLOUT | select.EPOLLONESHOT,
    }

    class EpollEar:
        """One epoll for the connections of a loop; it is closed when that lets go of it."""

        def __init__(self, loop: Loop) -> None:
            self.loop = loop
            self._epoll = select.epoll()
            self._waiting: dict[int, Future] = {}
            loop.add_reader(self._epoll.fileno(), self._hear)

        def fileno(self) -> int:
            return self._epoll.fileno()

        def listen(self, fileno: int, state: int, future: Future) -> None:
            self._waiting[fileno] = future
            try:
                self._epoll.modify(fileno, _EVENTS[state])
            except FileNotFoundError:  # it waits for the first time
                self._epoll.register(fileno, _EVENTS[state])

        def forget(self, fileno: int, future: Future) -> None:
            if self._waiting.get(fileno) is future:
                del self._waiting[fileno]

        def _hear(self) -> None:
            for fileno, events in self._epoll.poll(0):
                future = self._waiting.pop(fileno, None)
                if future is not None and not future.done():
                    # An error or the end is for who reads to find out.
                    ready = READ if events & ~select.EPOLLOUT else 0
                    future.set_result(ready | WRITE if events & select.EPOLLOUT else ready)


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
