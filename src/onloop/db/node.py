"""Nodes: which `atomic` blocks a flow of control stands in.

Every block that is entered puts a `Node` into a context variable, by alias. Tasks copy their
context when they are *created*, so a task's membership in a transaction is fixed there: made
inside a block it belongs to that block, made outside it does not, whatever happens later.

What the variable holds is never changed, only replaced: other contexts hold it too.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db.transaction import TransactionManagementError
from greenlet import getcurrent

from onloop.bridge import Bridge
from onloop.waiting import running_loop

if TYPE_CHECKING:
    from django.db.transaction import Atomic

    from onloop.db.turn import Turn

Blocks = Mapping[str, "Node"]

_NONE: Blocks = {}
# The innermost block of each alias.
_blocks: contextvars.ContextVar[Blocks] = contextvars.ContextVar("onloop_blocks", default=_NONE)
# The blocks that `TestCase` opens around tests: process-wide, by alias.
_roots: dict[str, Node] = {}


class Node:
    """One open `atomic` block, as seen by the tasks and threads that are made inside it."""

    __slots__ = (
        "_opener",
        "_opener_name",
        "alias",
        "atomic",
        "depth",
        "ended",
        "leaving",
        "loop",
        "outer",
        "rollback_wanted",
        "test",
        "turn",
        "wrapper",
    )

    def __init__(self, wrapper: Any, turn: Turn, atomic: Atomic, outer: Node | None) -> None:
        self.alias: str = wrapper.alias
        self.wrapper = wrapper
        self.turn = turn
        self.atomic = atomic
        # The block of the same alias around this one.
        self.outer = outer
        # The block of the `TestCase` that was open then, if one was.
        self.test = _roots.get(self.alias)
        self.ended = False
        # COMMIT, RELEASE or ROLLBACK is under way: too late for anybody else.
        self.leaving = False
        # How many `atomic` blocks the wrapper had open when this one had been entered.
        self.depth = len(wrapper.atomic_blocks)
        # Somebody in this block asked for a rollback while another task had an inner one open.
        self.rollback_wanted = False
        # Not the task itself, which would keep its context, and that this node.
        here = getcurrent()
        self._opener: weakref.ref[asyncio.Task[Any]] | int
        self._opener_name: tuple[str, Any]
        if type(here) is Bridge:
            self._opener = weakref.ref(here.task)
            self.loop: asyncio.AbstractEventLoop | None = here.loop
            coro = here.task.get_coro()
            self._opener_name = here.task.get_name(), getattr(coro, "__qualname__", coro)
        else:
            self._opener = threading.get_ident()
            self.loop = None
            self._opener_name = threading.current_thread().name, None
        # `leave` looks here where the caller's context does not know the block.
        atomic.__dict__.setdefault("_onloop_nodes", []).append(self)

    @property
    def opener(self) -> str:
        name, function = self._opener_name
        return f"thread {name!r}" if function is None else f"task {name!r} ({function})"

    def opened_by_caller(self) -> bool:
        loop = running_loop()
        if loop is None:
            return self._opener == threading.get_ident()
        return isinstance(self._opener, weakref.ref) and (
            self._opener() is asyncio.current_task(loop)
        )

    def end(self) -> None:
        self.ended = True
        try:
            self.atomic.__dict__["_onloop_nodes"].remove(self)
        except ValueError:
            pass

    def check(self) -> None:
        if self.ended or self.leaving:
            raise TransactionManagementError(
                f"This code belongs to an atomic block on {self.alias!r} (opened by "
                f"{self.opener}) that has ended: a task or thread that is made inside a block "
                "must not use the database after it. Wait for it inside the block, start it "
                "with transaction.on_commit(), or open a scope of its own in it: "
                "`async with onloop.scope():`."
            )


def innermost(alias: str) -> Node | None:
    """Return the caller's innermost block of `alias`; one that has ended if it outlived it.

    For the one who opened it, a block that has ended is over: an async generator that held it,
    say, was finalised in another task.
    """
    node = _blocks.get().get(alias)
    if node is not None and not node.ended:
        return node
    if node is not None and _roots and node.test is not _roots.get(alias):
        # A runner may start a test in the context in which another one left a block open.
        return _roots.get(alias)
    while node is not None and node.ended and node.opened_by_caller():
        node = node.outer
    if node is None and _roots:
        return _roots.get(alias)
    return node


def blocks() -> Blocks:
    """Return all blocks that the caller stands in, to be put back by `set_blocks`."""
    return _blocks.get()


def set_blocks(standing_in: Blocks = _NONE) -> None:
    _blocks.set(standing_in)


def stand_in(alias: str, node: Node | None, among: Blocks | None = None) -> None:
    """Make `node` the caller's innermost block of `alias`."""
    changed = dict(_blocks.get() if among is None else among)
    if node is None:
        changed.pop(alias, None)
    else:
        changed[alias] = node
    _blocks.set(changed)


def after_hop(before: Blocks) -> None:
    """Forget blocks that have ended, of those that asgiref has copied back from elsewhere.

    `before`: what the caller stood in before it waited for a thread, or for a loop.
    """
    now = _blocks.get()
    if now is before:
        return
    for alias, node in now.items():
        if node.ended and before.get(alias) is not node:
            stand_in(alias, before.get(alias))


def root(alias: str) -> Node | None:
    """Return the innermost block that a `TestCase` has open: one of its class, one a test."""
    return _roots.get(alias)


def set_root(alias: str, node: Node | None) -> None:
    """Register the block of a `TestCase`, used where the caller has no block of its own."""
    if node is None:
        _roots.pop(alias, None)
    else:
        _roots[alias] = node
