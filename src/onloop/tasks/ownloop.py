"""A thread with an event loop, for processes that have none: a command, the shell, WSGI.

It starts when something first needs it, and ends with the process, once its jobs are done.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from onloop import bridge, perloop
from onloop.db import pools
from onloop.tasks.errors import QueueClosed

logger = logging.getLogger("onloop.tasks")

NAME = "onloop-tasks"

# What is awaited on the loop before it ends: `drain(loop, timeout_s)`.
Drain = Callable[[asyncio.AbstractEventLoop, float | None], Coroutine[Any, Any, None]]


class OwnLoop:
    """A thread whose loop runs until `end`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._running = threading.Event()
        # Not `Thread.join` alone: on Python 3.11 it takes the thread for ended once Ctrl-C has
        # interrupted it.
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name=NAME, daemon=True)
        self._thread.start()
        self._running.wait()

    @property
    def is_alive(self) -> bool:
        return not self._over.is_set()

    def end(self, drain: Drain, timeout_s: float | None = None) -> None:
        """Await `drain` on the loop, then end it and wait for the thread."""
        if self.is_alive:
            try:
                self.loop.call_soon_threadsafe(self._ask, drain, timeout_s)
            except RuntimeError:
                pass  # it is just ending
        self._over.wait()
        self._thread.join()

    def _ask(self, drain: Drain, timeout_s: float | None) -> None:
        if not self._asked.done():
            self._asked.set_result((drain, timeout_s))

    def _main(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        finally:
            self._over.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[tuple[Drain, float | None]] = self.loop.create_future()
        self._running.set()
        drain, timeout_s = await self._asked
        try:
            await drain(self.loop, timeout_s)
        finally:
            try:
                await perloop.close_all()
            finally:
                await bridge.run(pools.drain_pools, self.loop)


_guard = threading.Lock()
_own: OwnLoop | None = None
_drain: Drain | None = None
_is_over = False


def own_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of the process's own thread, which is started if it does not run.

    Raises `QueueClosed` when the process ends.
    """
    global _own  # noqa: PLW0603 - one a process
    with _guard:
        if _is_over:
            raise QueueClosed("The process ends, and takes no more jobs.")
        if _own is None or not _own.is_alive:
            _own = OwnLoop()
        return _own.loop


def drain_by(drain: Drain) -> None:
    """Say what is awaited before the loop ends."""
    global _drain  # noqa: PLW0603 - one a process
    _drain = drain


async def _nothing(loop: asyncio.AbstractEventLoop, timeout_s: float | None) -> None:
    pass


def end_own_loop(timeout_s: float | None = None) -> None:
    """End the thread if it runs, after its jobs, which have `timeout_s` seconds; None: any."""
    global _own
    own, _own = _own, None
    if own is not None:
        own.end(_drain or _nothing, timeout_s)


def _at_exit() -> None:
    """Wait for the jobs; Ctrl-C cancels them."""
    global _is_over  # noqa: PLW0603 - one a process
    with _guard:
        _is_over = True
        own = _own
    if own is None:
        return
    drain = _drain or _nothing
    try:
        logger.info("The process waits for its jobs to end; Ctrl-C cancels them.")
        own.end(drain)
    except KeyboardInterrupt:
        if own.is_alive:
            asyncio.run_coroutine_threadsafe(drain(own.loop, 0), own.loop).result()
            own.end(drain)
        raise


def _forget() -> None:
    """In a forked child: the thread is its parent's."""
    global _guard, _own  # noqa: PLW0603 - one a process
    _guard = threading.Lock()
    _own = None


os.register_at_fork(after_in_child=_forget)
# Before `concurrent.futures` refuses to run anything in threads, which jobs do: it has
# registered itself there already, and the last comes first. `atexit` would be too late.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
