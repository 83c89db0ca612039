"""One event loop in a thread of its own, for synchronous code that has no loop to wait on.

It is started by the first call and ended with the process, or by `close`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

T = TypeVar("T")

NAME = "onloop-http"
# Seconds that a process waits at its end for connections to be closed.
CLOSE_S = 5.0


class Portal:
    """Runs coroutines for threads, on a loop in its own thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._ready = threading.Event()
        # A daemon: it must not keep a process from ending.
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._ready.set()
        await self._end.wait()

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def run(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `step()` on the loop, and block until it has ended."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(step(), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(
                "The request was cancelled: onloop.http.sync.close() was called, or the "
                "process ends."
            ) from None
        except BaseException:
            future.cancel()  # Ctrl-C, say; harmless where it has ended
            raise

    def close(self) -> None:
        """Cancel what runs and end the thread; `asyncio.run` closes what the loop has open."""
        if self._loop is not None and self._end is not None and self.is_open:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(CLOSE_S)


_guard = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """Return the process's portal, started if need be."""
    global _portal  # noqa: PLW0603 - one per process
    with _guard:
        if _portal is None or not _portal.is_open:
            _portal = Portal()
        return _portal


def close() -> None:
    """End the portal's thread; the next call starts another."""
    global _portal
    with _guard:
        ending, _portal = _portal, None
    if ending is not None:
        ending.close()


def _after_fork() -> None:
    """In a forked child there is no such thread."""
    global _portal, _guard  # noqa: PLW0603 - a thread of the parent may have held it
    _guard = threading.Lock()
    _portal = None


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
