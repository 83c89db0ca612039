"""Leaving an `atomic` block: commit or roll back, in turn, whole, and never in silence.

Django's own `Atomic.__exit__` does the work on the wrapper, and everything that it cannot know
of is seen to around it: tasks that are still at work in the block, cancellations, finalisers.
A block that cannot be rolled back loses its connection.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Any

from django.db import connections
from django.db.transaction import Atomic, TransactionManagementError
from django.db.utils import DEFAULT_DB_ALIAS
from greenlet import getcurrent

from onloop import bridge, guard
from onloop.db import node as nodes
from onloop.db.errors import TurnTimeout
from onloop.db.node import Node
from onloop.db.scope import current_scope
from onloop.waiting import running_loop

# Seconds that COMMIT or ROLLBACK may go on once the task has been cancelled. After that the
# connection is thrown away, and the server ends the transaction as it sees fit.
SHIELD_S = 10.0

logger = logging.getLogger("onloop.db")

_exit = Atomic.__exit__


def leave(
    self: Atomic,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    """`Atomic.__exit__`: commit or roll back, whole even if the task is cancelled meanwhile.

    Raises `TransactionManagementError` if the block ends as if nothing had happened although
    it cannot be committed: an inner block of another task is still open, a cancellation was
    swallowed, or another task had entered it. An exception that leaves the block is never
    replaced, unless by a cancellation.
    """
    alias = self.using or DEFAULT_DB_ALIAS
    test = self._from_testcase  # type: ignore[attr-defined]
    if test:
        nodes.stand_in(alias, None)  # what the test has left open ends with it
    node = _node_of(self, alias)
    if test and node is not None and not node.ended:
        _leave_test(self, node, exc_type, exc, tb)
        return
    before = nodes.blocks()
    if node is None or node.ended:
        if node is not None:
            _step_out(self, node, before)
        _leave_what_is_over(self, alias, node, exc_type, exc, tb)
        return
    if not _can_wait(node, exc_type):
        _abandon(node)
        _step_out(self, node, before)
        if exc_type is None:
            raise GeneratorExit  # as every other wait would, in a bridge that is closed
        return
    cancelled = None
    try:
        _end(self, node, before, exc_type, exc, tb)
    except asyncio.CancelledError as error:
        cancelled = error
    finally:
        _step_out(self, node, before)
    if cancelled is None:
        node.wrapper.run_held_commit_hooks()
        return
    try:
        # It arrived while the server was committing: what was to follow a commit follows.
        node.wrapper.run_held_commit_hooks()
    except Exception:
        logger.exception("A callback of on_commit failed in a task that was cancelled.")
    try:
        raise cancelled
    finally:
        del cancelled  # no cycle of exception, traceback and this frame


def _leave_test(
    self: Atomic,
    node: Node,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    """The end of a test, which has its own outcome by now and is rolled back in any case.

    Nothing may stop it: `TestCase` would not go on to end its blocks of other databases, nor
    pytest-django to end the test case, and the tests that follow would be in the wrong.
    """
    problem: Exception | None = None
    try:
        node.turn.acquire(node, leaving=True)
    except TurnTimeout as timeout:
        problem = timeout
        _abandon(node)
    else:
        try:
            _end_in_turn(self, node, exc_type, exc, tb, None)
        except TransactionManagementError as error:
            problem = error
        finally:
            node.turn.__exit__()
    finally:
        nodes.set_root(node.alias, node.outer)
    if problem is not None:
        logger.warning("A test has left something behind, which is undone. %s", problem)


def _node_of(self: Atomic, alias: str) -> Node | None:
    """Find the node that `enter` made for this block, in the caller's context if it is there.

    A shared `Atomic` has several nodes; the nearest one is the caller's.
    """
    node = nodes.root(alias) if self._from_testcase else nodes.blocks().get(alias)  # type: ignore[attr-defined]
    while node is not None and node.atomic is not self:
        node = node.outer
    if node is not None:
        return node
    # Entered in another context: an exit stack that was moved, a finaliser.
    elsewhere: list[Node] = self.__dict__.get("_onloop_nodes", [])
    mine = [node for node in elsewhere if node.alias == alias]
    here = [node for node in mine if node.opened_by_caller()]
    if here:
        return here[-1]
    return mine[0] if len(mine) == 1 else None


def _stands_in(node: Node, before: nodes.Blocks) -> bool:
    """Tell whether the caller's context is inside of the block."""
    found = before.get(node.alias)
    while found is not None and found is not node:
        found = found.outer
    return found is node


def _step_out(self: Atomic, node: Node, before: nodes.Blocks) -> None:
    """Let the caller stand outside of the block, in what it stood in `before` otherwise."""
    if self._from_testcase:  # type: ignore[attr-defined]
        nodes.set_root(node.alias, node.outer)
    elif before.get(node.alias) is node or _stands_in(node, before):
        nodes.stand_in(node.alias, node.outer, before)
        return
    nodes.set_blocks(before)


def _leave_what_is_over(
    self: Atomic,
    alias: str,
    node: Node | None,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    if node is None and not _is_ours(alias):
        _exit(self, exc_type, exc, tb)
    elif exc_type is None:
        raise TransactionManagementError(
            f"This atomic block on {alias!r} has ended and cannot be left: it was left before, "
            "or it ended, rolled back, together with the block or the scope that it was "
            "entered in."
        )


def _is_ours(alias: str) -> bool:
    try:
        return hasattr(connections[alias], "turn")
    except TransactionManagementError:
        return True  # of a node


def _can_wait(node: Node, exc_type: type[BaseException] | None) -> bool:
    """Tell whether COMMIT or ROLLBACK can be waited for here.

    A block may be left by a finaliser: of a generator that the garbage collector found, or of
    a coroutine whose loop is closed. That must never wait.

    Raises `SynchronousOnlyOperation` where somebody left it outside of a bridge; it stays open.
    """
    here = getcurrent()
    if type(here) is bridge.Bridge:
        if here.closing:
            return False
        if bridge.active():
            return True
    if exc_type is not GeneratorExit:
        with suppress(RuntimeError):
            guard.get_running_loop()
        return True
    if running_loop() is not None:
        return False
    scope = node.wrapper.scope
    return scope is None or scope is current_scope()


def _end(
    self: Atomic,
    node: Node,
    before: nodes.Blocks,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    problem = None
    if exc_type is GeneratorExit or before.get(node.alias) is not node:
        if not self._from_testcase:  # type: ignore[attr-defined]
            problem = _entered_elsewhere(node, before, exc_type)
        nodes.stand_in(node.alias, node)  # so that `connections[alias]` is the block's
    with bridge.Shield(SHIELD_S, begun=isinstance(exc, asyncio.CancelledError)):
        try:
            node.turn.acquire(node, leaving=True)
        except TurnTimeout:
            _abandon(node)
            if exc_type is None:
                raise
            return
        try:
            _end_in_turn(self, node, exc_type, exc, tb, problem)
        finally:
            node.turn.__exit__()


def _end_in_turn(
    self: Atomic,
    node: Node,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
    problem: TransactionManagementError | None,
) -> None:
    wrapper = node.wrapper
    if node.turn.top is not node:
        problem = _end_inner_blocks(node)
    if exc_type is not None:
        problem = None  # it rolls back, and says why
    elif self._from_testcase:  # type: ignore[attr-defined]
        pass  # rolled back in any case
    elif problem is None and wrapper.needs_rollback and wrapper.cancellation is not None:
        problem = _swallowed(node, wrapper.cancellation)
    if problem is not None:
        exc_type, exc, tb = type(problem), problem, None
    wrapper.hold_commit_hooks = True
    node.leaving = True
    try:
        _exit(self, exc_type, exc, tb)
    finally:
        wrapper.hold_commit_hooks = False
        if not node.ended:
            node.turn.pop(node)
        wrapper.block_ended(node.turn.top, exc)
    if problem is not None:
        raise problem


def _end_inner_blocks(node: Node) -> TransactionManagementError:
    """End blocks that tasks of this one have left open."""
    inner = node.turn.stack[node.turn.stack.index(node) + 1 :]
    node.turn.pop(inner[0])
    _trim(node.wrapper, node.depth)
    return TransactionManagementError(
        f"This atomic block on {node.alias!r} ended while an inner block, opened by "
        f"{inner[-1].opener}, was open: everything has been rolled back. Wait for the tasks "
        "that are made inside a block before it ends, for example with asyncio.TaskGroup."
    )


def _swallowed(node: Node, cancellation: BaseException) -> TransactionManagementError:
    problem = TransactionManagementError(
        f"A statement or an inner block of this atomic block on {node.alias!r} was cancelled "
        "(a time-out, say) and the block was left without an error: it has been rolled back. "
        "Let the cancellation out of the block, or put what may be cancelled into an inner "
        "atomic block with a savepoint."
    )
    problem.__cause__ = cancellation
    return problem


def _entered_elsewhere(
    node: Node, before: nodes.Blocks, exc_type: type[BaseException] | None
) -> TransactionManagementError | None:
    """Say so if a block is left by who neither opened it nor stands inside of it.

    What an async generator does between its yields belongs to the task that consumes it: with
    another one, the statements in between were not in this transaction.
    """
    if node.opened_by_caller():
        return None
    if exc_type is GeneratorExit:
        logger.warning(
            "An async generator that holds an atomic block on %r, opened by %s, was not closed "
            "by who used it: it is rolled back only now, with whatever that task has done in "
            "it meanwhile. Use contextlib.aclosing().",
            node.alias,
            node.opener,
        )
    if _stands_in(node, before):
        return None
    return TransactionManagementError(
        f"This atomic block on {node.alias!r} was entered by {node.opener} and left in another "
        "task, in which it was not in effect: it has been rolled back. Enter and leave a block "
        "in one task; consume an async generator that holds one in one task."
    )


def _abandon(node: Node) -> None:
    """End a block that cannot be rolled back: there is no waiting, or not any longer."""
    wrapper = node.wrapper
    node.turn.pop(node)
    if node.atomic._from_testcase:  # type: ignore[attr-defined]
        # The class's block goes with the connection; the next class gets a new one.
        outer = wrapper.atomic_blocks[: node.depth - 1]
        wrapper.drop_connection()
        if outer:
            wrapper.atomic_blocks, wrapper.savepoint_ids = outer, [None] * (len(outer) - 1)
            wrapper.in_atomic_block = wrapper.closed_in_transaction = True
            wrapper.needs_rollback = True
    elif node.depth == 1:
        wrapper.drop_connection()
    else:
        _trim(wrapper, node.depth - 1)
        wrapper.block_abandoned()


def _trim(wrapper: Any, depth: int) -> None:
    """Forget the blocks of `wrapper` that lie deeper than `depth`."""
    surplus = len(wrapper.atomic_blocks) - depth
    if surplus > 0:
        del wrapper.atomic_blocks[depth:]
        del wrapper.savepoint_ids[-surplus:]
