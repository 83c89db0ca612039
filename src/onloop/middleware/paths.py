"""Prefixes of paths in the settings."""

from __future__ import annotations

from collections.abc import Iterable


def is_under(path: str, prefixes: Iterable[str]) -> bool:
    """Tell whether the path is under one of the prefixes; "/api" is that of no "/apiary"."""
    return any(
        path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes
    )
