"""Caches that are not Django's: what a third party may have written."""

from __future__ import annotations

import threading
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache

import onloop


class Blocking(BaseCache):
    """Keeps values in a dictionary, and notes which threads it was called in."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.kept: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []

    def _note(self) -> None:
        self.threads.append(threading.current_thread())

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        self._note()
        return self.kept.setdefault(key, value) is value

    def get(self, key, default=None, version=None):
        self._note()
        return self.kept.get(key, default)

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        self._note()
        self.kept[key] = value

    def delete(self, key, version=None):
        self._note()
        return self.kept.pop(key, None) is not None

    def clear(self):
        self._note()
        self.kept.clear()

    def close(self, **kwargs):
        self._note()


@onloop.on_loop
class Quick(Blocking):
    """Says of itself that it does not block."""


@onloop.in_thread
class Slow(LocMemCache):
    """Says of itself that it does."""
