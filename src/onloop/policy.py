"""The marks that say where a synchronous view runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def on_loop(view: F) -> F:
    """Run this synchronous view on the event loop, in the bridge of its request.

    For views that wait for nothing but the database: they save two thread switches. A view
    that blocks otherwise (`requests`, `time.sleep`) holds up every other request.
    """
    view.onloop_place = "loop"  # type: ignore[attr-defined]
    return view


def in_thread(view: F) -> F:
    """Run this synchronous view in a thread, whatever the settings say."""
    view.onloop_place = "thread"  # type: ignore[attr-defined]
    return view
