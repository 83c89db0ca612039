"""Where a view or a middleware runs: awaited, on the loop, or in a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

from asgiref.sync import iscoroutinefunction

from onloop import conf

Place = Literal["awaited", "loop", "thread"]


def place_of(view: Callable[..., Any], *, sync: str | None = None) -> Place:
    """Decide where `view` runs.

    An `async def` view is awaited. For others, in this order: a mark by `@onloop.on_loop` or
    `@onloop.in_thread`, the longest prefix in `ONLOOP["ON_LOOP"]` and `["IN_THREAD"]` that
    matches one of its names, `sync` ("thread" or "loop"), by default `ONLOOP["SYNC_VIEWS"]`.
    """
    if iscoroutinefunction(view):
        return "awaited"
    mark = mark_of(view)
    if mark is not None:
        return mark
    settings = conf.get()
    names = list(_names(view))
    on_loop = _longest_prefix(settings.ON_LOOP, names)
    in_thread = _longest_prefix(settings.IN_THREAD, names)
    if on_loop or in_thread:
        return "loop" if on_loop > in_thread else "thread"
    return "loop" if (sync or settings.SYNC_VIEWS) == "loop" else "thread"


def middleware_runs_in_thread(path: str, factory: Callable[..., Any]) -> bool:
    """Decide whether a synchronous middleware runs in a thread, by its prefix in the settings.

    `path` is its name in `MIDDLEWARE`, which may be another than where it is defined.
    """
    settings = conf.get()
    names = [path, _dotted(factory)]
    in_thread = _longest_prefix(settings.IN_THREAD, names)
    return in_thread > 0 and in_thread >= _longest_prefix(settings.ON_LOOP, names)


def function_runs_in_thread(function: Callable[..., Any]) -> bool:
    """Decide whether a function that is on the loop by default runs in a thread.

    By a mark, or by its prefix in the settings.
    """
    mark = mark_of(function)
    if mark is not None:
        return mark == "thread"
    return middleware_runs_in_thread("", function)


def session_runs_in_thread(store: Any) -> bool:
    """Decide whether a session, or a class of sessions, is read and saved in a thread.

    Those in the database, in a cache (which leaves the loop by itself where it blocks) or in
    cookies are not; what others wait for (files) blocks.
    """
    from django.contrib.sessions.backends import base, cache, db, signed_cookies  # noqa: PLC0415

    kind = store if isinstance(store, type) else type(store)
    if not issubclass(kind, base.SessionBase):
        return False
    return not issubclass(
        kind, cache.SessionStore | db.SessionStore | signed_cookies.SessionStore
    )


def mark_of(view: Callable[..., Any]) -> Place | None:
    """The mark of a view or its class, by `@onloop.on_loop` or `@onloop.in_thread`."""
    for owner in (view, *_classes(view)):
        mark = getattr(owner, "onloop_place", None)
        if mark is not None:
            return mark  # type: ignore[no-any-return]
    return None


def prefix_of(view: Callable[..., Any]) -> str:
    """The name by which a setting means this view, its class if it has one."""
    owner = next(_classes(view), view)
    return _dotted(owner).partition(".<locals>")[0]


def _classes(view: Callable[..., Any]) -> Iterator[type]:
    """The classes behind a view: Django's, DRF's, the admin's.

    Also behind its decorators: what a `ModelAdmin` wraps by hand says nothing else of it.
    """
    layer: Any = view
    while layer is not None:
        for name in ("view_class", "cls", "model_admin", "admin_site", "__self__"):
            owner = getattr(layer, name, None)
            if owner is not None and not inspect.ismodule(owner):
                yield owner if isinstance(owner, type) else type(owner)
        layer = getattr(layer, "__wrapped__", None)


def _names(view: Callable[..., Any]) -> Iterator[str]:
    """Dotted names that a prefix can match: of the view, its class and that one's bases.

    So "rest_framework" covers every view set, and "django.contrib.admin" a project's own
    `ModelAdmin` classes.
    """
    yield _dotted(view)
    for owner in _classes(view):
        for base in owner.__mro__:
            yield _dotted(base)


def _dotted(thing: Any) -> str:
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{getattr(thing, '__module__', '')}.{name}"


def _longest_prefix(prefixes: tuple[str, ...], names: list[str]) -> int:
    return max(
        (
            len(prefix)
            for prefix in prefixes
            if any(name == prefix or name.startswith(prefix + ".") for name in names)
        ),
        default=0,
    )
