"""Whose turn it is on a connection: nodes of the transaction, and the queue for them.

Every `atomic` block that is entered pushes a `Node` into a context variable. Tasks copy their
context when they are *created*, so a task's membership in a transaction is fixed there: made
inside a block it belongs to that block, made outside it does not, whatever happens later.

Statements on one connection take turns: a caller runs if its node is the innermost open one
of that connection; else it waits. This module must never hold its lock over a wait.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.transaction import TransactionManagementError
from greenlet import getcurrent

from onloop import bridge
from onloop.db.errors import TurnTimeout
from onloop.waiting import Waiter

if TYPE_CHECKING:
    from django.db.transaction import Atomic

_innermost: contextvars.ContextVar[Node | None] = contextvars.ContextVar(
    "onloop_node", default=None
)
# The blocks that `TestCase` opens around tests: process-wide, by alias.
_roots: dict[str, Node] = {}


class Node:
    """One open `atomic` block, as seen by the tasks and threads that are made inside it."""

    __slots__ = ("alias", "atomic", "depth", "ended", "outer", "owner", "turn", "wrapper")

    def __init__(self, wrapper: Any, atomic: Atomic, outer: Node | None) -> None:
        self.alias: str = wrapper.alias
        self.wrapper = wrapper
        self.turn: Turn = wrapper.turn
        self.atomic = atomic
        self.outer = outer
        self.owner = _name_of_caller()
        self.ended = False
        # How many `atomic` blocks the wrapper had open when this one had been entered.
        self.depth = 0

    def check(self) -> None:
        if self.ended:
            raise TransactionManagementError(
                f"This code belongs to an atomic block on {self.alias!r} (opened by "
                f"{self.owner}) that has ended: a task or thread that is made inside a block "
                "must not use the database after it. Wait for it inside the block, start it "
                "with transaction.on_commit(), or open a scope of its own in it: "
                "`async with onloop.scope():`."
            )


def innermost(alias: str | None = None) -> Node | None:
    """Return the caller's innermost block, of any database or of `alias`."""
    node = _innermost.get()
    if alias is None:
        return node
    while node is not None and node.alias != alias:
        node = node.outer
    if node is None and _roots:
        return _roots.get(alias)
    return node


def set_innermost(node: Node | None) -> None:
    _innermost.set(node)


def root(alias: str) -> Node | None:
    """Return the innermost block that a `TestCase` has open: one of its class, one a test."""
    return _roots.get(alias)


def set_root(alias: str, node: Node | None) -> None:
    """Register the block of a `TestCase`, used where the caller has no block of its own."""
    if node is None:
        _roots.pop(alias, None)
    else:
        _roots[alias] = node


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
        self.acquire(node)

    def __exit__(self, *exc: object) -> None:
        self.release()

    def acquire(self, node: Node | None, *, leaving: bool = False) -> None:
        """Take the turn for `node`, waiting while an inner block of another task is open.

        `leaving`: the caller ends its block, so inner ones do not hold it up.

        Raises `TransactionManagementError` if the block of `node` has ended, and
        `TurnTimeout` after `timeout_s` seconds.
        """
        who = _caller()
        with self._guard:
            if self._holder == who and self._holder is not None:
                self._depth += 1
                return
            if self._holder is None and not self._waiting and self._may(node, leaving):
                if node is not None and not leaving:
                    node.check()
                self._holder = who
                self._depth = 1
                return
            if node is not None and not leaving:
                node.check()
            waiter: Waiter[None] = Waiter()
            queued = _Queued(node, who, leaving, waiter)
            self._waiting.append(queued)
            self._grant()
        try:
            waiter.wait(self.timeout_s)
        except BaseException:
            if not self._abandon(queued):
                self.release()
            raise
        if self._abandon(queued):
            raise TurnTimeout(self._explain(node))
        if node is not None and not leaving and node.ended:
            self.release()
            node.check()

    def release(self) -> None:
        with self._guard:
            self._depth -= 1
            if self._depth == 0:
                self._holder = None
                if self._waiting:
                    self._grant()

    def push(self, node: Node) -> None:
        """Open a block; the caller has the turn."""
        self.stack.append(node)

    def pop(self, node: Node) -> list[Node]:
        """End a block, and with it the inner ones that are still open, which are returned."""
        with self._guard:
            index = self.stack.index(node)
            inner = self.stack[index + 1 :]
            del self.stack[index:]
            node.ended = True
            for other in inner:
                other.ended = True
            return inner

    def end_all(self, wrapper: Any) -> None:
        """End every block of `wrapper`: the scope that they belong to is gone.

        Others stay: the wrappers of an in-memory database share one turn.
        """
        with self._guard:
            for node in self.stack:
                if node.wrapper is wrapper:
                    node.ended = True
            self.stack = [node for node in self.stack if not node.ended]
            self._grant()

    def _may(self, node: Node | None, leaving: bool) -> bool:
        top = self.stack[-1] if self.stack else None
        return leaving or top is node or (node is not None and node.ended)

    def _grant(self) -> None:
        """Hand the turn to the first in the queue that may have it; under the guard."""
        if self._holder is not None:
            return
        for queued in self._waiting:
            if self._may(queued.node, queued.leaving):
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
            self._waiting.remove(queued)
            return True

    def _explain(self, node: Node | None) -> str:
        top = self.top
        if top is not None and top is not node:
            holder = f"an inner atomic block that {top.owner} has open"
        else:
            holder = f"a statement of {self._holder!r}"
        return (
            f"Waited {self.timeout_s:g} s for the connection of the transaction on "
            f"{self.alias!r}, which is in use by {holder}. A block that waits for a task of "
            "its outer block waits for ever: open the inner block in that task, or do not "
            "await it inside."
        )


def _caller() -> object:
    """Identify who holds a turn: the task of a bridge, or the thread."""
    here = getcurrent()
    return here.task if type(here) is bridge.Bridge else threading.get_ident()


def _name_of_caller() -> str:
    here = getcurrent()
    if type(here) is bridge.Bridge:
        coro = here.task.get_coro()
        return f"task {here.task.get_name()!r} ({getattr(coro, '__qualname__', coro)})"
    return f"thread {threading.current_thread().name!r}"
