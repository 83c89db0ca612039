"""What a pool does when nobody asks: refill, shrink, replace, and tidy up.

A timer of the loop looks at the pool now and then; there is a task only while something is to
be waited for. Nothing here is needed for a pool to be right: without it connections are
replaced when somebody comes.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable
from onloop.db.pool.pool import Pool
from onloop.waiting import pause

logger = logging.getLogger("onloop.db")

# Seconds between two looks at a pool: at most, at least, and where connections are missing.
LONGEST_S = 30.0
SHORTEST_S = 0.05
SHORT_OF_S = 1.0

# Seconds that a connection may take to be tidied up, before it is thrown away instead.
TIDY_S = 5.0


class Upkeep:
    """Looks after one pool of one loop.

    `open_`: opens a connection for the pool; called in a bridge of a task of its own.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pool: Pool[Any], open_: Callable[[], Any]
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._open = open_
        self._tasks: set[asyncio.Task[None]] = set()
        self._refilling: asyncio.Task[None] | None = None
        self._given_up = False
        options = pool.options
        self._interval_s = min(
            LONGEST_S, max(SHORTEST_S, min(options.max_idle, options.max_lifetime) / 4)
        )

    def start(self) -> None:
        """Begin; from any thread."""
        self._pool.reaper = self.reap
        # In a context of its own: that of the caller says which transaction it is in.
        self._loop.call_soon_threadsafe(self._schedule, context=contextvars.Context())

    def _schedule(self) -> None:
        if self._pool.closed:
            return
        hurry = self._pool.is_short and not self._given_up
        delay_s = min(SHORT_OF_S, self._interval_s) if hurry else self._interval_s
        self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._schedule()
        self._pool.prune()
        if self._is_to_refill() and self._refilling is None:
            self._refilling = self._task(self._refill(), "refill")
            self._refilling.add_done_callback(self._refilled)

    def _is_to_refill(self) -> bool:
        # Who has given up waits for a caller that gets through.
        return self._pool.is_short and not (self._given_up and self._pool.retry_at)

    def _task(self, coro: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        # Not through the loop's task factory: it would belong to the scope of whoever asks.
        task = asyncio.Task(coro, loop=self._loop, name=f"onloop: {what} {self._pool.name!r}")
        self._tasks.add(task)  # the loop keeps weak references only
        task.add_done_callback(self._tasks.discard)
        return task

    # --- Refilling --------------------------------------------------------------------------

    async def _refill(self) -> None:
        await bridge.run(self._refill_in_bridge)

    def _refill_in_bridge(self) -> None:
        """Open connections up to `min_size`, for as long as `reconnect_timeout` if need be."""
        pool = self._pool
        give_up_at = time.monotonic() + pool.options.reconnect_timeout
        while pool.is_short:
            try:
                pool.add(self._open)
            except DatabaseUnavailable as exc:
                logger.warning("The pool %r cannot be refilled: %s", pool.name, exc)
            if pool.retry_at:
                if pool.retry_at > give_up_at:
                    self._give_up()
                    return
                pause(max(pool.retry_at - time.monotonic(), SHORTEST_S))
        self._given_up = False

    def _give_up(self) -> None:
        pool = self._pool
        self._given_up = True
        logger.warning(
            "The pool %r has not been refilled within %g s; callers go on trying.",
            pool.name,
            pool.options.reconnect_timeout,
        )
        if pool.options.reconnect_failed is not None:
            pool.options.reconnect_failed(pool)

    def _refilled(self, task: asyncio.Task[None]) -> None:
        self._refilling = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._given_up = True
            logger.error("The pool %r was not refilled.", self._pool.name, exc_info=exc)

    # --- Tidying up -------------------------------------------------------------------------

    def reap(self, connection: Any) -> None:
        """Tidy up a connection and put it back; from any thread and any finaliser."""
        try:
            self._loop.call_soon_threadsafe(
                self._begin_to_tidy, connection, context=contextvars.Context()
            )
        except RuntimeError:  # the loop is closed
            self._pool.discard(connection)

    def _begin_to_tidy(self, connection: Any) -> None:
        task = self._task(self._tidy(connection), "tidy up a connection of")
        # By a callback: a task that is cancelled before its first step runs nothing.
        task.add_done_callback(functools.partial(self._tidied, connection))

    async def _tidy(self, connection: Any) -> None:
        pool = self._pool

        def work() -> None:
            pool.driver.prepare(connection, TIDY_S)
            pool.driver.tidy(connection)
            if pool.options.reset is not None:
                pool.options.reset(connection)

        async with asyncio.timeout(TIDY_S):
            await bridge.run(work)

    def _tidied(self, connection: Any, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._pool.put(connection)
            return
        if not task.cancelled():
            logger.info(
                "A connection of the pool %r was closed, as it could not be tidied up: %s",
                self._pool.name,
                task.exception(),
            )
        self._pool.discard(connection)
