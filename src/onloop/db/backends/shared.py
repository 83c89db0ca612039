"""What a wrapper needs because several tasks and threads share it in a transaction.

Django keeps the state of the innermost block in the wrapper, and takes every caller for the one
who opened that. Here a caller may stand in an outer block while another task has an inner one
open: a bystander, whose rollbacks and callbacks are its own block's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from onloop.bridge import interrupts
from onloop.db import transaction
from onloop.db.errors import TurnTimeout
from onloop.db.node import Node, innermost
from onloop.db.scope import Scope, current_scope
from onloop.waiting import running_loop

if TYPE_CHECKING:
    from onloop.db.turn import Turn

    class _Base(BaseDatabaseWrapper):
        """What the stubs leave out of Django's class."""

        rollback_exc: BaseException | None
        _thread_ident: int

else:
    _Base = BaseDatabaseWrapper


class SharedTransaction(_Base):
    """Mixin for a `DatabaseWrapper`: the transaction of several tasks."""

    scope: Scope | None = None
    # The CancelledError that the open block can only be rolled back for.
    cancellation: BaseException | None = None
    # `Atomic.__exit__` is under way; its on_commit callbacks run when it is done.
    hold_commit_hooks = False
    _hooks_due = False
    _needs_rollback = False

    @property
    def turn(self) -> Turn:
        raise NotImplementedError

    def _bystander(self) -> Node | None:
        """Return the caller's block, if the wrapper's state is not that block's now.

        Another task has an inner one open, or is about to leave this one.
        """
        if not self.in_atomic_block:
            return None
        node = innermost(self.alias)
        if node is None or node.ended or node.wrapper is not self:
            return None
        if node.turn.stack[-1] is node and (not node.leaving or node.turn.is_callers):
            return None
        return node

    # --- rolling back -----------------------------------------------------------------------

    def _set_needs_rollback(self, value: bool) -> None:
        node = self._bystander()
        if node is None:
            self._needs_rollback = value
        else:
            node.rollback_wanted = value

    needs_rollback = property(attrgetter("_needs_rollback"), _set_needs_rollback)

    def get_rollback(self) -> bool:
        node = self._bystander()
        return super().get_rollback() if node is None else node.rollback_wanted

    def set_rollback(self, rollback: bool) -> None:
        super().set_rollback(rollback)
        if not rollback and self._bystander() is None:
            self.cancellation = None  # the caller knows better

    def validate_no_broken_transaction(self) -> None:
        node = self._bystander()
        if node is not None:
            if node.rollback_wanted:
                raise TransactionManagementError(
                    "An error occurred in the current transaction. You can't execute queries "
                    "until the end of the 'atomic' block."
                )
            if self._needs_rollback:
                # Of the inner block: it is over when the caller has its turn.
                with self.turn:
                    pass
        super().validate_no_broken_transaction()

    def block_ended(self, outer: Node | None, exc: BaseException | None) -> None:
        """Called by `leave` when Django has left a block; `outer` is the innermost one now."""
        if outer is not None and outer.rollback_wanted:
            outer.rollback_wanted = False
            self._needs_rollback = True
        if not self._needs_rollback:
            self.cancellation = None
        elif exc is not None and interrupts(exc):
            # It had no savepoint to roll back to; swallowed, this must not go unnoticed.
            self.cancellation = self.cancellation or exc

    def block_abandoned(self) -> None:
        """Called by `leave` for an inner block that could not be rolled back."""
        self._needs_rollback = True
        self.cancellation = self.cancellation or TransactionManagementError(
            f"An inner atomic block on {self.alias!r} was left where its savepoint could not "
            "be rolled back: by a finaliser, or while a statement did not end."
        )

    def statement_cancelled(self, exc: BaseException) -> None:
        """A statement was interrupted: its transaction can only be rolled back."""
        if self.in_atomic_block:
            self.needs_rollback = True
            self.rollback_exc = exc
        if self.in_atomic_block or not self.autocommit:
            self.cancellation = exc

    def commit(self) -> None:
        cancellation = self.cancellation
        if cancellation is not None and not self.in_atomic_block and not self.hold_commit_hooks:
            # By hand, with autocommit off: the server would answer COMMIT with ROLLBACK.
            self.rollback()
            raise TransactionManagementError(
                f"A statement of this transaction on {self.alias!r} was cancelled (a time-out, "
                "say): it has been rolled back and not committed."
            ) from cancellation
        super().commit()

    def rollback(self) -> None:
        super().rollback()
        self.cancellation = None

    # --- callbacks --------------------------------------------------------------------------

    def on_commit(self, func: Callable[[], Any], robust: bool = False) -> None:
        node = self._bystander()
        if node is not None:
            node.check()
        super().on_commit(transaction.adapt_commit_hook(func), robust)
        if node is not None:
            # Not bound to the savepoints of blocks that the caller does not stand in.
            inner = len(self.atomic_blocks) - node.depth
            sids = set(self.savepoint_ids[: len(self.savepoint_ids) - inner])
            self.run_on_commit[-1] = (sids, *self.run_on_commit[-1][1:])

    def run_and_clear_commit_hooks(self) -> None:
        """Django calls it in the middle of `Atomic.__exit__`: there, they are still held.

        Turn, shield and connection belong to the end of the block. A callback that makes
        tasks would wait for itself, its own time-outs would be held back, and the connection
        would be kept while it awaits something else.
        """
        if self.hold_commit_hooks:
            self._hooks_due = True
        else:
            super().run_and_clear_commit_hooks()

    def run_held_commit_hooks(self) -> None:
        """Run the callbacks of a block that has been left, if it was committed."""
        if self._hooks_due:
            self._hooks_due = False
            self.run_and_clear_commit_hooks()

    # --- what else one must not take from the others -----------------------------------------

    def close(self) -> None:
        """Close the connection, unless it is the open transaction's of somebody else.

        Threads are told to close their connections at their end. One that has joined a block
        has none: it would end the transaction, and the block would not even notice.
        """
        if self.in_atomic_block and not self._is_callers():
            return
        super().close()

    def _is_callers(self) -> bool:
        if self.scope is not None:
            return current_scope() is self.scope
        return running_loop() is None and self._thread_ident == threading.get_ident()

    def is_usable(self) -> bool:
        """`TestCase` asks at the end of a test; by then somebody may be stuck in the block."""
        try:
            with self.turn:
                return super().is_usable()
        except TurnTimeout:
            return False

    def validate_thread_sharing(self) -> None:
        """Refuse a foreign thread, but not one of the scope or of the block that is open.

        Raises `DatabaseError`, as Django does.
        """
        if self.scope is not None and (
            self._thread_ident == threading.get_ident() or self.scope.is_callers
        ):
            return
        node = innermost(self.alias)
        if node is not None and node.wrapper is self:
            return  # a thread or task that joined the transaction
        super().validate_thread_sharing()

    @contextmanager
    def execute_wrapper(self, wrapper: Any) -> Iterator[None]:
        """As Django's; tasks may leave theirs in another order than they came."""
        self.execute_wrappers.append(wrapper)
        try:
            yield
        finally:
            wrappers = self.execute_wrappers
            for index in reversed(range(len(wrappers))):
                if wrappers[index] is wrapper:
                    del wrappers[index]
                    break
