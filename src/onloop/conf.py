"""The settings dictionary `ONLOOP`, read once and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True)
class Settings:
    """What `settings.ONLOOP` may hold, with the defaults.

    `SYNC_VIEWS`: where plain `def` views run, "thread" or "loop". `ON_LOOP` and `IN_THREAD`:
    dotted prefixes (`"django.contrib.admin"`) of views that run there whatever `SYNC_VIEWS`
    says, and of middleware, which is on the loop unless `IN_THREAD` says otherwise. `LIFESPAN`: dotted paths of functions without arguments that return an async context
    manager, entered at start-up and left at shutdown. `TURN_TIMEOUT`: seconds that a statement
    waits for the connection of its transaction while another task or thread uses it.
    `SQLITE_INLINE_MS`: milliseconds that a SQLite statement may hold the loop before it is
    moved to a worker thread; 0 sends every query there. `JSON_ERRORS`: prefixes of paths under
    which `JSONErrorMiddleware` answers everybody in JSON. `STALL_MS`: milliseconds that code
    may hold the loop before the watchdog names it; 0 switches the watchdog off.
    """

    SYNC_VIEWS: str = "thread"
    ON_LOOP: tuple[str, ...] = ()
    IN_THREAD: tuple[str, ...] = ()
    LIFESPAN: tuple[str, ...] = ()
    TURN_TIMEOUT: float = 30.0
    SQLITE_INLINE_MS: float = 5.0
    JSON_ERRORS: tuple[str, ...] = ()
    STALL_MS: float = 50.0


_loaded: Settings | None = None


def get() -> Settings:
    """Return the checked settings.

    Raises `ImproperlyConfigured` for a name or a value that `ONLOOP` does not know.
    """
    global _loaded  # noqa: PLW0603 - read once, reset by `reload`
    if _loaded is None:
        from django.conf import settings  # noqa: PLC0415 - importable without settings

        _loaded = _check(getattr(settings, "ONLOOP", {}))
    return _loaded


def reload(**kwargs: Any) -> None:
    """Forget what was read; the receiver of `setting_changed`."""
    global _loaded  # noqa: PLW0603 - see `get`
    if kwargs.get("setting", "ONLOOP") == "ONLOOP":
        _loaded = None


def _check(given: dict[str, Any]) -> Settings:
    if not isinstance(given, dict):
        raise ImproperlyConfigured("The setting ONLOOP must be a dictionary.")
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ImproperlyConfigured(
            f"Unknown names in the setting ONLOOP: {', '.join(unknown)}. "
            f"Known are: {', '.join(sorted(known))}."
        )
    values: dict[str, Any] = dict(given)
    for name in ("ON_LOOP", "IN_THREAD", "LIFESPAN", "JSON_ERRORS"):
        if name in values:
            value = values[name]
            if not isinstance(value, list | tuple | set | frozenset) or not all(
                isinstance(item, str) for item in value
            ):
                kind = "paths" if name == "JSON_ERRORS" else "dotted paths"
                raise ImproperlyConfigured(f"ONLOOP[{name!r}] must be a list of {kind}.")
            values[name] = tuple(value)
    for prefix in values.get("JSON_ERRORS", ()):
        if not prefix.startswith("/"):
            raise ImproperlyConfigured(
                f'ONLOOP["JSON_ERRORS"] must hold paths that begin with "/"; {prefix!r} '
                "does not."
            )
    seconds = values.get("TURN_TIMEOUT", 1.0)
    if not _is_number(seconds) or not 0 < seconds < math.inf:
        raise ImproperlyConfigured(
            'ONLOOP["TURN_TIMEOUT"] must be a number of seconds above 0.'
        )
    for name in ("SQLITE_INLINE_MS", "STALL_MS"):
        milliseconds = values.get(name, 1.0)
        if not _is_number(milliseconds) or not 0 <= milliseconds < math.inf:
            raise ImproperlyConfigured(
                f'ONLOOP["{name}"] must be a number of milliseconds, 0 or more.'
            )
    if values.get("SYNC_VIEWS", "thread") not in ("thread", "loop"):
        raise ImproperlyConfigured('ONLOOP["SYNC_VIEWS"] must be "thread" or "loop".')
    return Settings(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
