"""Whose turn it is on a connection that several tasks and threads share.

Statements on one connection take turns: a caller runs if its node is the innermost open one
of that connection; else it waits. This module must never hold its lock over a wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, NamedTuple

from greenlet import getcurrent

from onloop.bridge import Bridge
from onloop.db.errors import TurnTimeout
from onloop.db.node import Node, innermost
from onloop.waiting import Waiter

_get_ident = threading.get_ident

# Seconds until a caller that waits looks whether the loop of whom it waits for runs at all.
STRANDED_S = 1.0


class _Queued(NamedTuple):
    node: Node | None
    who: object
    leaving: bool
    waiter: Waiter[None]


class Turn:
    """The right to use one connection, and the stack of the blocks that are open on it.

    Stands where psycopg keeps `Connection.lock`: `with turn:` takes the turn for the caller's
    node. It can be taken again by the task or thread that has it.
    """

    __slots__ = ("_depth", "_guard", "_holder", "_waiting", "alias", "stack", "timeout_s")

    def __init__(self, alias: str | None, timeout_s: float = 30.0) -> None:
        self.alias = alias
        self.timeout_s = timeout_s
        # Open blocks, the innermost last; none of them has ended.
        self.stack: list[Node] = []
        self._guard = threading.Lock()
        self._waiting: deque[_Queued] = deque()
        self._holder: object | None = None
        self._depth = 0

    @property
    def top(self) -> Node | None:
        return self.stack[-1] if self.stack else None

    def __enter__(self) -> None:
        node = None if self.alias is None else innermost(self.alias)
        if node is not None and node.turn is not self:
            node = None  # an ad hoc copy of the connection is no part of the caller's block
        # `acquire`, if nobody is in the way. Every statement comes by here, and `with` would
        # cost as much again as the lock.
        here = getcurrent()
        self._guard.acquire()
        stack = self.stack
        free = (
            self._holder is None
            and not self._waiting
            and (stack[-1] if stack else None) is node
        )
        if free:
            self._holder = here.task if type(here) is Bridge else _get_ident()
            self._depth = 1
        self._guard.release()
        if not free:
            self.acquire(node)

    def acquire(self, node: Node | None, *, leaving: bool = False) -> None:
        """Take the turn for `node`, waiting while an inner block of another task is open.

        `leaving`: the caller ends its block, so inner ones do not hold it up.

        Raises `TransactionManagementError` if the block of `node` has ended, and
        `TurnTimeout` after `timeout_s` seconds.
        """
        here = getcurrent()
        who: object = here.task if type(here) is Bridge else _get_ident()
        with self._guard:
            if self._holder is None:
                # An open block on top is one that has not ended.
                top = self.stack[-1] if self.stack else None
                if (top is node or leaving) and not self._waiting:
                    self._holder = who
                    self._depth = 1
                    return
            elif self._holder == who:
                self._depth += 1
                return
            if node is not None and node.ended and not leaving:
                node.check()
            queued = _Queued(node, who, leaving, Waiter())
            self._waiting.append(queued)
            self._grant()
        self._wait(queued)

    def _wait(self, queued: _Queued) -> None:
        node = queued.node
        try:
            self._wait_while_it_can_come(queued.waiter)
        except BaseException:
            if not self._abandon(queued):
                self.__exit__()
            raise
        if self._abandon(queued):
            raise TurnTimeout(self._explain(node))
        if node is not None and not queued.leaving and node.ended:
            self.__exit__()
            if node.opened_by_caller():
                self.__enter__()  # over for the caller, who is in the one around it now
            else:
                node.check()

    def _wait_while_it_can_come(self, waiter: Waiter[None]) -> None:
        """Wait, but not long for a task of a loop that does not run: it may never run again."""
        loop = self._loop_ahead()
        if loop is not None and loop.is_closed():
            return
        if waiter.wait(min(self.timeout_s, STRANDED_S)) or self._stranded():
            return
        waiter.wait(self.timeout_s - STRANDED_S)

    def _loop_ahead(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop of the task that has the turn, or that has an inner block open."""
        holder, top = self._holder, self.top
        if holder is not None:
            return holder.get_loop() if isinstance(holder, asyncio.Task) else None
        return None if top is None else top.loop

    def _stranded(self) -> bool:
        loop = self._loop_ahead()
        return loop is not None and not loop.is_running()

    def __exit__(self, *exc: object) -> None:
        self._guard.acquire()
        try:
            self._depth = depth = self._depth - 1
            if not depth:
                self._holder = None
                if self._waiting:
                    self._grant()
        finally:
            self._guard.release()

    @property
    def is_callers(self) -> bool:
        here = getcurrent()
        return self._holder == (here.task if type(here) is Bridge else _get_ident())

    def push(self, node: Node) -> None:
        """Open a block; the caller has the turn."""
        self.stack.append(node)

    def pop(self, node: Node) -> None:
        """End a block, and with it the inner ones that are still open."""
        with self._guard:
            index = self.stack.index(node)
            for ending in self.stack[index:]:
                ending.end()
            del self.stack[index:]

    def end_all(self, wrapper: Any) -> None:
        """End every block of `wrapper`: the scope that they belong to is gone.

        Others stay: the wrappers of an in-memory database share one turn.
        """
        with self._guard:
            for node in self.stack:
                if node.wrapper is wrapper:
                    node.end()
            self.stack = [node for node in self.stack if not node.ended]
            self._grant()

    def _may(self, node: Node | None, leaving: bool) -> bool:
        top = self.stack[-1] if self.stack else None
        # Who waits for the turn of a block that has ended is told so.
        return leaving or top is node or (node is not None and node.ended)

    def _grant(self) -> None:
        """Hand the turn to the first in the queue that may have it; under the guard."""
        if self._holder is not None:
            return
        for queued in list(self._waiting):
            if queued.waiter.gone:
                self._waiting.remove(queued)  # nobody will take it
            elif self._may(queued.node, queued.leaving):
                self._waiting.remove(queued)
                self._holder = queued.who
                self._depth = 1
                queued.waiter.set(None)
                return

    def _abandon(self, queued: _Queued) -> bool:
        """Leave the queue; False if the turn was handed over meanwhile."""
        with self._guard:
            if queued.waiter.done:
                return False
            if queued in self._waiting:  # else its loop was found closed
                self._waiting.remove(queued)
            return True

    def _explain(self, node: Node | None) -> str:
        top = self.top
        if top is not None and top is not node:
            holder = f"an inner atomic block that {top.opener} has open"
        else:
            holder = f"a statement of {_named(self._holder)}"
        if self._stranded():
            return (
                f"The connection of the transaction on {self.alias!r} is in use by {holder}, "
                "whose event loop does not run. Let the loop finish or cancel its tasks, as "
                "asyncio.run() does."
            )
        return (
            f"Waited {self.timeout_s:g} s for the connection of the transaction on "
            f"{self.alias!r}, which is in use by {holder}. A block that waits for a task of "
            "its outer block waits for ever: open the inner block in that task, or do not "
            "await it inside."
        )


def _named(holder: object) -> str:
    for thread in threading.enumerate():
        if thread.ident == holder:
            return f"thread {thread.name!r}"
    return repr(holder)
