"""Transactions of tasks whose event loop does not run: what a test leaves that broke off."""

from __future__ import annotations

import logging
from typing import Any

from onloop.db.scope import Scope
from onloop.db.scope import _scopes as scopes

logger = logging.getLogger("onloop.db")


def end_stranded() -> None:
    """Undo the transactions of tasks whose event loop does not run.

    For the end of a test: one that was broken off by a time-out, say, leaves tasks in the
    middle of a transaction, with locks at which emptying the tables would wait for ever.
    """
    for innermost in list(scopes.values()):
        current: Scope | None = innermost
        while current is not None:
            if not current.loop.is_running():
                for wrapper in current.wrappers.values():
                    if hasattr(wrapper, "drop_connection"):
                        _end_stranded(wrapper)
            current = current._outer


def _end_stranded(wrapper: Any) -> None:
    if wrapper.connection is None or not (wrapper.in_atomic_block or wrapper.in_transaction()):
        return
    logger.warning(
        "A transaction on %r was left open by %r, whose event loop does not run; it is rolled "
        "back.",
        wrapper.alias,
        wrapper.scope.task.get_name(),
    )
    wrapper.turn.end_all(wrapper)
    wrapper.drop_connection()
