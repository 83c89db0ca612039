"""`OPTIONS` of a backend, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What `InProcessBackend` may be told.

    `max_running`: jobs that run at once on an event loop; `max_queued`: jobs that wait beyond
    those. `drain_s`: seconds that a server's shutdown leaves to jobs before it cancels them.
    `result_ttl_s`: seconds that a result is kept, `max_results`: how many at most. `store`:
    whether states go to the database, where `"onloop.tasks"` is in INSTALLED_APPS.
    """

    max_running: int = 10
    max_queued: int = 1000
    drain_s: float = 10.0
    result_ttl_s: float = 3600.0
    max_results: int = 10_000
    store: bool = True


@dataclass(frozen=True, slots=True)
class CeleryOptions:
    """What `CeleryBackend` may be told.

    `app`: the dotted path of the Celery application, by default Celery's current one. `store`:
    as above.
    """

    app: str = ""
    store: bool = True


def read(kind: type[T], alias: str, given: Mapping[str, Any]) -> T:
    """Raises `ImproperlyConfigured` for names and values that do not exist."""
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(given) - set(known)):
        raise ImproperlyConfigured(
            f"Unknown names in TASKS[{alias!r}]['OPTIONS']: {', '.join(unknown)}. Known are: "
            f"{', '.join(sorted(known))}."
        )
    for name, value in given.items():
        _check(alias, name, value, type(known[name].default))
    return kind(**given)


def _check(alias: str, name: str, value: Any, kind: type) -> None:
    where = f"TASKS[{alias!r}]['OPTIONS'][{name!r}]"
    if kind in (bool, str):
        if not isinstance(value, kind):
            wanted = "True or False" if kind is bool else "the dotted path of an object"
            raise ImproperlyConfigured(f"{where} must be {wanted}, not {value!r}.")
        return
    numeric = isinstance(value, int if kind is int else int | float)
    if not numeric or isinstance(value, bool) or not 0 <= value < math.inf:
        wanted = "a whole number" if kind is int else "a number of seconds"
        raise ImproperlyConfigured(f"{where} must be {wanted}, 0 or more, not {value!r}.")
    if name == "max_running" and value == 0:
        raise ImproperlyConfigured(f"{where} must be 1 or more: nothing would ever run.")
