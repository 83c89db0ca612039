"""Who knows which numbers, and all of them at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from onloop.metrics.process import read_process

logger = logging.getLogger("onloop.metrics")

_sources: dict[str, Callable[[], Any]] = {"process": read_process}


def source(name: str, read: Callable[[], Any]) -> None:
    """Have `read()` call `read`, and put what it returns under `name`.

    It returns what JSON can say, waits for nothing, and may be called from any thread.
    """
    _sources[name] = read


def read() -> dict[str, Any]:
    """Return the numbers of this process by name, from any thread; docs/metrics.md lists them.

    What JSON can say; times in seconds unless a name says otherwise. It takes some 0.1 ms. What
    cannot be read is logged, and left out.
    """
    numbers = {}
    for name, ask in list(_sources.items()):
        try:
            numbers[name] = ask()
        except Exception:
            logger.exception("The numbers of %r cannot be read.", name)
    return numbers
