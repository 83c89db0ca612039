"""The marks of a view: where it runs if it is synchronous, its own limits, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _refuse_no_view(mark: str, view: object) -> None:
    if not callable(view):
        raise TypeError(
            f"@onloop.{mark} takes a view, not {view!r}. Write it above the view, without "
            f'arguments; ONLOOP["{mark.upper()}"] takes dotted names.'
        )


def on_loop(view: F) -> F:
    """Run this synchronous view on the event loop, in the bridge of its request.

    For views that wait for nothing but the database: they save two thread switches. A view
    that blocks otherwise (`requests`, `time.sleep`) holds up every other request.
    """
    _refuse_no_view("on_loop", view)
    view.onloop_place = "loop"  # type: ignore[attr-defined]
    return view


def in_thread(view: F) -> F:
    """Run this synchronous view in a thread, whatever the settings say."""
    _refuse_no_view("in_thread", view)
    view.onloop_place = "thread"  # type: ignore[attr-defined]
    return view


def always(view: F) -> F:
    """Serve this view however many requests are served or wait: a check of health.

    Neither `ONLOOP["MAX_REQUESTS"]` nor the queue before it holds for it, so it must be cheap.
    """
    view.onloop_always = True  # type: ignore[attr-defined]
    return view


def limits(
    *,
    max_body: int | None = None,
    body_timeout: float | None = None,
    chunk_timeout: float | None = None,
    request_timeout: float | None = None,
) -> Callable[[F], F]:
    """Give a view limits of its own, in place of those in the setting `ONLOOP`.

    `max_body`: bytes of the request's body. `body_timeout` and `chunk_timeout`: seconds to wait
    for all of the body, and for its next piece. `request_timeout`: seconds until the response
    begins, 0 for no end. For a class-based view use Django's `method_decorator` on `dispatch`.

    Raises `ValueError` for a negative limit, and for a time-out of the body that is 0;
    `TypeError` for what is no number, and for a class.
    """
    given = {
        "max_body": max_body,
        "body_timeout": body_timeout,
        "chunk_timeout": chunk_timeout,
        "request_timeout": request_timeout,
    }
    own = {name: value for name, value in given.items() if value is not None}
    for name, value in own.items():
        kind = int if name == "max_body" else int | float
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "whole number of bytes" if kind is int else "number of seconds"
            raise TypeError(f"{name} is a {wanted}, not {value!r}.")
        # Asked in this way, it refuses what is not a number by its own account (NaN) too.
        if not value >= 0 or (value == 0 and name in ("body_timeout", "chunk_timeout")):
            raise ValueError(f"{name} is a limit of a request and cannot be {value!r}.")

    def mark(view: F) -> F:
        if isinstance(view, type):
            # Its `as_view()` would not have the mark, and nothing would be limited.
            raise TypeError(
                "@onloop.limits takes a view. Above a class write "
                '@method_decorator(onloop.limits(...), name="dispatch").'
            )
        if not callable(view):
            raise TypeError(f"@onloop.limits takes a view, not {view!r}.")
        view.onloop_limits = {**getattr(view, "onloop_limits", {}), **own}  # type: ignore[attr-defined]
        return view

    return mark
