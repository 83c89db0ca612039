"""`django.db.transaction.atomic`, for `async with`, `async def` and tasks that share a block.

Django's own `Atomic.__enter__` and `__exit__` do the work on the wrapper. Around them stands
what one connection shared by several tasks needs: the node that tells who belongs to the
block, the turn on the connection, and an end that a cancellation cannot tear apart.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.db.transaction import Atomic, TransactionManagementError
from django.db.utils import DEFAULT_DB_ALIAS

from onloop import adapters, bridge
from onloop.db import turn
from onloop.db.errors import TurnTimeout
from onloop.db.turn import Node

# Seconds that COMMIT or ROLLBACK may go on once the task has been cancelled. After that the
# connection is thrown away, and the server ends the transaction as it sees fit.
SHIELD_S = 10.0

logger = logging.getLogger("onloop.db")

_enter = Atomic.__enter__
_exit = Atomic.__exit__
_decorate = Atomic.__call__


def enter(self: Atomic) -> None:
    """`Atomic.__enter__`: enter the block in the turn of the caller's innermost block."""
    alias = self.using or DEFAULT_DB_ALIAS
    wrapper: Any = connections[alias]
    queue = getattr(wrapper, "turn", None)
    if queue is None:  # an engine that is not ours
        _enter(self)
        return
    from_testcase = getattr(self, "_from_testcase", False)
    with queue:
        cancelled = _enter_whole(self, wrapper)
        node = Node(wrapper, self, turn.root(alias) if from_testcase else turn.innermost())
        node.depth = len(wrapper.atomic_blocks)
        queue.push(node)
    if from_testcase:
        turn.set_root(alias, node)
    else:
        turn.set_innermost(node)
    if cancelled is not None:
        try:
            leave(self, type(cancelled), cancelled, cancelled.__traceback__)
            raise cancelled
        finally:
            del cancelled  # a cycle through this frame would keep cursors open


def _enter_whole(self: Atomic, wrapper: Any) -> asyncio.CancelledError | None:
    """Enter as Django does; return a cancellation that arrived during SAVEPOINT.

    A SAVEPOINT that is cancelled half-way would cost the outer block, which the task's time-out
    has nothing to do with. (BEGIN goes to the server with the first statement.)
    """
    if not wrapper.in_atomic_block:
        _enter(self)
        return None
    depth = len(wrapper.atomic_blocks)
    try:
        with bridge.Shield(SHIELD_S):
            _enter(self)
    except asyncio.CancelledError as exc:
        if len(wrapper.atomic_blocks) == depth:
            raise  # Django has not entered
        return exc
    return None


def leave(
    self: Atomic,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    """`Atomic.__exit__`: commit or roll back, whole even if the task is cancelled meanwhile.

    Raises `TransactionManagementError` if the block ends as if nothing had happened although
    it cannot be committed: an inner block of another task is still open, or a statement was
    cancelled and the cancellation swallowed.
    """
    alias = self.using or DEFAULT_DB_ALIAS
    node = _node_of(self, alias)
    if node is None:
        _exit(self, exc_type, exc, tb)
        return
    try:
        if node.ended:
            if exc_type is None:
                node.check()
            return
        with bridge.Shield(SHIELD_S):
            try:
                node.turn.acquire(node, leaving=True)
            except TurnTimeout:
                _abandon(node)
                raise
            try:
                _leave_in_turn(self, node, exc_type, exc, tb)
            finally:
                node.turn.release()
    except asyncio.CancelledError:
        # It arrived while the server was committing: what was to follow a commit follows.
        _set_outer(self, node)
        try:
            node.wrapper.run_held_commit_hooks()
        except Exception:
            logger.exception("A callback of on_commit failed in a task that was cancelled.")
        raise
    finally:
        _set_outer(self, node)
    node.wrapper.run_held_commit_hooks()


def _abandon(node: Node) -> None:
    """End a block that cannot be rolled back: a statement of another task does not end."""
    wrapper = node.wrapper
    node.turn.pop(node)
    if node.depth == 1:
        wrapper.drop_connection()
    else:
        wrapper.needs_rollback = True
        _trim(wrapper, node.depth - 1)


def _trim(wrapper: Any, depth: int) -> None:
    """Forget the blocks of `wrapper` that lie deeper than `depth`."""
    surplus = len(wrapper.atomic_blocks) - depth
    if surplus > 0:
        del wrapper.atomic_blocks[depth:]
        del wrapper.savepoint_ids[-surplus:]


def _set_outer(self: Atomic, node: Node) -> None:
    if getattr(self, "_from_testcase", False):
        turn.set_root(node.alias, node.outer)
    elif turn.innermost() is node:
        turn.set_innermost(node.outer)


def _leave_in_turn(
    self: Atomic,
    node: Node,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    wrapper = node.wrapper
    problem = _end_inner_blocks(node)
    if problem is None and exc_type is None and wrapper.needs_rollback:
        cancelled = wrapper.cancelled_statement
        if cancelled is not None:
            problem = TransactionManagementError(
                f"A statement of this atomic block on {node.alias!r} was cancelled (a "
                "time-out, say) and the block was left without an error: it has been rolled "
                "back. Let the cancellation out of the block, or put what may be cancelled "
                "into an inner atomic block."
            )
            problem.__cause__ = cancelled
    if problem is not None:
        exc_type, exc, tb = type(problem), problem, None
    wrapper.hold_commit_hooks = True
    try:
        _exit(self, exc_type, exc, tb)
    finally:
        wrapper.hold_commit_hooks = False
        if not node.ended:
            node.turn.pop(node)
        if not wrapper.needs_rollback:
            wrapper.cancelled_statement = None
    if problem is not None:
        raise problem


def _end_inner_blocks(node: Node) -> TransactionManagementError | None:
    """End blocks that tasks of this one have left open; say so if there were any."""
    if node.turn.top is node:
        return None
    wrapper = node.wrapper
    inner = node.turn.stack[node.turn.stack.index(node) + 1 :]
    node.turn.pop(inner[0])
    _trim(wrapper, node.depth)
    return TransactionManagementError(
        f"This atomic block on {node.alias!r} ended while an inner block, opened by "
        f"{inner[-1].owner}, was open: everything has been rolled back. Wait for the tasks "
        "that are made inside a block before it ends, for example with asyncio.TaskGroup."
    )


def _node_of(self: Atomic, alias: str) -> Node | None:
    """Find the node that `enter` made for this block."""
    node = turn.innermost(alias)
    if node is not None and node.atomic is self:
        return node
    # Entered in another context (an exit stack that was moved, a fixture): by the wrapper.
    wrapper: Any = connections[alias]
    queue = getattr(wrapper, "turn", None)
    top = None if queue is None else queue.top
    if top is not None and top.atomic is self:
        turn.set_innermost(top)
        return top  # type: ignore[no-any-return]
    return None


async def aenter(self: Atomic) -> None:
    """`Atomic.__aenter__`."""
    await bridge.run(enter, self)


async def aleave(
    self: Atomic,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    """`Atomic.__aexit__`."""
    await bridge.run(leave, self, exc_type, exc, tb)


def decorate(self: Atomic, func: Callable[..., Any]) -> Callable[..., Any]:
    """`Atomic.__call__`: the decorator, for functions and for `async def`."""
    if not iscoroutinefunction(func):
        return _decorate(self, func)

    @functools.wraps(func)
    async def atomically(*args: Any, **kwargs: Any) -> Any:
        # A block of its own for each call: two calls at once must not share one.
        async with type(self)(self.using, self.savepoint, self.durable):  # type: ignore[attr-defined]
            return await func(*args, **kwargs)

    return atomically


def adapt_commit_hook(func: Callable[[], Any]) -> Callable[[], Any]:
    """Let an `async def` function be an `on_commit` callback."""
    if not iscoroutinefunction(func):
        return func
    return functools.update_wrapper(functools.partial(adapters.async_to_sync(func)), func)
