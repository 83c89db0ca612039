"""The limits of one request: those of the settings, and of a view that has its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from onloop import conf


class Limits(NamedTuple):
    """Bytes and seconds; `request_timeout` 0 is none."""

    max_body: int
    body_timeout: float
    chunk_timeout: float
    request_timeout: float

    def with_those_of(self, view: Any) -> Limits:
        """Return these, with what a mark by `@onloop.limits` changes."""
        marked: Mapping[str, Any] = getattr(view, "onloop_limits", None) or {}
        return self._replace(**marked) if marked else self


_read: tuple[conf.Settings, Limits] | None = None


def of_settings() -> Limits:
    """Return the limits that `ONLOOP` sets."""
    global _read  # noqa: PLW0603 - a memo; every request asks
    settings = conf.get()
    if _read is None or _read[0] is not settings:
        _read = (
            settings,
            Limits(
                settings.MAX_BODY,
                settings.BODY_TIMEOUT,
                settings.CHUNK_TIMEOUT,
                settings.REQUEST_TIMEOUT,
            ),
        )
    return _read[1]
