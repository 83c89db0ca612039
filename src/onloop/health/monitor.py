"""Whether databases answer: one check at a time for each, whoever asks meanwhile shares it.

A check must say nothing wrong of a process that is merely loaded. So it never queues for a
connection: it takes an idle one, or opens one beyond `max_size`, or, where all are lent and
come back all the time, takes that for its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import Error, connections

from onloop import bridge
from onloop.db.backends.base import ScopedWrapper
from onloop.db.pool import is_busy
from onloop.db.scope import scope

logger = logging.getLogger("onloop.health")

OK = "ok"
# All connections are lent, and have been coming back: they work.
BUSY = "busy"
UNAVAILABLE = "unavailable"
TIMEOUT = "timeout"
WELL = frozenset({OK, BUSY})

# Seconds in which one of a full pool's connections must have come back. If none has, another
# is opened to ask by.
TURNOVER_S = 10.0


class Monitor:
    """The checks that are under way on one event loop, and how the last ones ended."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[str]] = {}
        self._well: dict[str, bool] = {}

    async def ask(self, aliases: Iterable[str], timeout_s: float) -> dict[str, str]:
        """Return the states of databases, after `timeout_s` seconds at the latest.

        Raises `ConnectionDoesNotExist`, and what else goes wrong.
        """
        known = {alias: connections[alias] for alias in aliases}  # if one is not, none is asked
        tasks = {alias: self._check(alias, timeout_s) for alias in known}
        if tasks:
            # It cancels none of them: they are others' as well.
            await asyncio.wait(tasks.values(), timeout=timeout_s)
        for alias, task in tasks.items():
            if not task.done():  # and may not be for long, in a thread or while it cleans up
                self._tell(alias, f"no answer within {timeout_s:g} s")
        return {alias: _state_of(task) for alias, task in tasks.items()}

    def _check(self, alias: str, timeout_s: float) -> asyncio.Task[str]:
        task = self._under_way.get(alias)
        if task is None:
            # In a context of its own: it is no part of a request's scope or transaction.
            task = asyncio.get_running_loop().create_task(
                self._state(alias, timeout_s), name=f"health of {alias}", context=Context()
            )
            if not task.done():  # which tasks that are begun eagerly may be
                self._under_way[alias] = task
                task.add_done_callback(lambda _: self._under_way.pop(alias))
        return task

    async def _state(self, alias: str, timeout_s: float) -> str:
        try:
            if isinstance(connections[alias], ScopedWrapper):
                # What is cancelled here may take a while to clean up; nobody waits for that,
                # and there is no second check until it is done.
                async with asyncio.timeout(timeout_s), scope():
                    state = await bridge.run(_ask, alias)
            else:
                # A thread cannot be cancelled: there is no second one before it is done.
                ask = sync_to_async(_ask_in_thread, thread_sensitive=False)
                state = await ask(alias)
        except TimeoutError:
            self._tell(alias, f"no answer within {timeout_s:g} s")
            return TIMEOUT
        except (Error, OSError) as exc:
            self._tell(alias, exc)
            return UNAVAILABLE
        self._tell(alias)
        return state

    def _tell(self, alias: str, problem: object = None) -> None:
        """Log a change. What is wrong exactly stands only here, not in the answer."""
        before = self._well.get(alias, True)
        self._well[alias] = problem is None
        if before and problem is not None:
            logger.warning("Not ready: the database %r: %s", alias, problem)
        elif problem is None and not before:
            logger.warning("The database %r is ready again.", alias)


def _state_of(task: asyncio.Task[str]) -> str:
    if not task.done():
        return TIMEOUT
    return UNAVAILABLE if task.cancelled() else task.result()  # cancelled: the loop ends


def _ask(alias: str) -> str:
    """Ask a database of Onloop's, in a bridge."""
    wrapper: Any = connections[alias]
    pool = wrapper.loop_pool
    if pool is not None and is_busy(pool, TURNOVER_S):
        return BUSY
    wrapper.urgent = True
    try:
        _select(wrapper)
    finally:
        wrapper.urgent = False
    return OK


def _ask_in_thread(alias: str) -> str:
    """Ask another engine's database, on a connection that nobody else has."""
    wrapper = connections[alias]
    try:
        _select(wrapper)
    finally:
        wrapper.close()
    return OK


def _select(wrapper: Any) -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(f"SELECT 1{wrapper.features.bare_select_suffix}")
        cursor.fetchone()


_monitors: WeakKeyDictionary[asyncio.AbstractEventLoop, Monitor] = WeakKeyDictionary()


def monitor_of(loop: asyncio.AbstractEventLoop) -> Monitor:
    """Return the checks of `loop`."""
    return _monitors.setdefault(loop, Monitor())
