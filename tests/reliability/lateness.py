"""How late an event loop is, and what of that it has to answer for itself.

Others may have the processor when the loop wants it. So each look notes the process's own
time as well, all of its threads together: no more of the lag than that can be its own doing.
What the garbage collector takes, which holds every thread, is noted too.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

TICK_S = 0.005


class Lateness:
    """`watch()` on the loop, `stop()`; `take()` returns what was seen since the last time."""

    def __init__(self) -> None:
        self._lags_ms: list[float] = []
        self._own_ms: list[float] = []
        self._collections_ms: list[float] = []
        self._collects_since = 0.0
        self._task: asyncio.Task[None]

    def watch(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look())
        gc.callbacks.append(self._collects)

    def stop(self) -> None:
        self._task.cancel()
        gc.callbacks.remove(self._collects)

    def take(self) -> dict[str, list[float]]:
        """Milliseconds in order: each lag, what of it may be its own, each collection."""
        taken = {
            "lags_ms": sorted(self._lags_ms),
            "own_ms": sorted(self._own_ms),
            "collections_ms": sorted(self._collections_ms),
        }
        self._lags_ms, self._own_ms, self._collections_ms = [], [], []
        return taken

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, worked = loop.time() + TICK_S, time.process_time()
            await asyncio.sleep(TICK_S)
            lag = max(loop.time() - due, 0.0)
            self._lags_ms.append(lag * 1000)
            self._own_ms.append(min(lag, time.process_time() - worked) * 1000)

    def _collects(self, phase: str, info: dict[str, Any]) -> None:
        """What the collector calls, in whatever thread it runs."""
        if phase == "start":
            self._collects_since = time.process_time()
        else:
            took = time.process_time() - self._collects_since
            self._collections_ms.append(took * 1000)
