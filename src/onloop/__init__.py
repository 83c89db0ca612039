"""Onloop makes Django natively asynchronous, end to end.

Importing this package needs no settings and loads neither Django's ORM nor a driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onloop.adapters import async_to_sync, sync_to_async
from onloop.context import is_async_context, where
from onloop.policy import in_thread, limits, on_loop

if TYPE_CHECKING:
    from onloop.db.scope import scope

__version__ = "0.1.0.dev0"

__all__ = [
    "async_to_sync",
    "in_thread",
    "is_async_context",
    "limits",
    "on_loop",
    "scope",
    "sync_to_async",
    "where",
]


def __getattr__(name: str) -> Any:
    if name == "scope":  # needs Django's database layer
        from onloop.db.scope import scope  # noqa: PLC0415

        return scope
    raise AttributeError(f"module 'onloop' has no attribute {name!r}")
