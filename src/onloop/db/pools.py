"""Which pool serves which event loop: one per loop, alias and database name."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from onloop import bridge, metrics
from onloop.db.pool import Pool
from onloop.db.pool.upkeep import Upkeep
from onloop.perloop import before_loop_ends
from onloop.waiting import running_loop

logger = logging.getLogger("onloop.db")

# Seconds that a shutdown waits for connections that are out.
DRAIN_S = 5.0

_guard = threading.Lock()
_pools: dict[asyncio.AbstractEventLoop, dict[tuple[str, str], Pool[Any]]] = {}
_closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}


def pool_for(
    loop: asyncio.AbstractEventLoop,
    alias: str,
    name: str,
    make: Callable[[], tuple[Pool[Any], Callable[[], Any]]],
) -> Pool[Any]:
    """Return the pool of `loop` for the database `name` of `alias`.

    `make` makes it if need be, and a function that opens connections for its reserve.
    """
    key = alias, name
    try:
        pool = _pools[loop][key]
    except KeyError:
        pass
    else:
        if not pool.closed:
            return pool
    with _guard:
        mine = _pools.setdefault(loop, {})
        # A thread that is lent a scope may have been quicker.
        if key not in mine or mine[key].closed:
            mine[key], open_ = make()
            Upkeep(loop, mine[key], open_).start()
        pool = mine[key]
    _sweep()
    if loop not in _closers:
        _close_at_the_end_of(loop)
    return pool


def pools_of(loop: asyncio.AbstractEventLoop) -> list[Pool[Any]]:
    return list(_pools.get(loop, {}).values())


def all_pools() -> list[tuple[asyncio.AbstractEventLoop, str, Pool[Any]]]:
    """Return every pool of this process, with its loop and the name of its database."""
    with _guard:
        return [
            (loop, name, pool)
            for loop, mine in _pools.items()
            for (_, name), pool in mine.items()
        ]


def renew_pools(*, setting: str, **kwargs: Any) -> None:
    """Receiver of `setting_changed`: with other apps, connections are set up in another way.

    `django.contrib.postgres`, say, registers types whenever a connection is opened.
    """
    if setting == "INSTALLED_APPS":
        for _, _, pool in all_pools():
            pool.outdate()


def close_pools(
    loop: asyncio.AbstractEventLoop | None = None, alias: str | None = None
) -> None:
    """Close the pools of one loop or of all, dead ones included; from any thread."""
    with _guard:
        closing: list[Pool[Any]] = []
        for owner in list(_pools) if loop is None else [loop]:
            mine = _pools.get(owner, {})
            keys = [key for key in mine if alias in (None, key[0])]
            closing.extend(mine.pop(key) for key in keys)
            if not mine:
                _pools.pop(owner, None)
    for pool in closing:
        pool.close()


def drain_pools(loop: asyncio.AbstractEventLoop) -> None:
    """Close the pools of `loop`, once connections that are out have come back; in a bridge.

    What is not back within `DRAIN_S` seconds is logged, and closed when it comes.
    """
    deadline = time.monotonic() + DRAIN_S  # of all together
    try:
        for pool in pools_of(loop):
            if out := pool.drain(max(deadline - time.monotonic(), 0.0)):
                logger.warning(
                    "The pool %r is closed while %d of its connections are in use.",
                    pool.name,
                    out,
                )
    finally:  # also where a server that gives up cancels the wait
        close_pools(loop)


@asynccontextmanager
async def draining() -> AsyncIterator[None]:
    """Drain the pools of the running loop at the end of the block."""
    try:
        yield
    finally:
        await bridge.run(drain_pools, asyncio.get_running_loop())


def _close_at_the_end_of(loop: asyncio.AbstractEventLoop) -> None:
    """Have the pools of `loop` closed with it; from any thread, as that of a sync view."""
    if running_loop() is loop:
        if loop not in _closers:
            _closers[loop] = before_loop_ends(functools.partial(_close_with_loop, loop))
        return
    try:
        # In a context of its own: that of the caller says which transaction it is in.
        loop.call_soon_threadsafe(_close_at_the_end_of, loop, context=contextvars.Context())
    except RuntimeError:
        pass  # it is closed, and the pool is swept up


async def _close_with_loop(loop: asyncio.AbstractEventLoop) -> None:
    _closers.pop(loop, None)
    close_pools(loop)


def _sweep() -> None:
    """Close the pools of loops that ended without shutting their generators down."""
    for loop in [loop for loop in list(_pools) if loop.is_closed()]:
        _closers.pop(loop, None)
        close_pools(loop)


def _read() -> list[dict[str, Any]]:
    return [
        {"name": pool.name, "database": name, **pool.stats()}
        for loop, name, pool in all_pools()
        if not (pool.closed or loop.is_closed())
    ]


metrics.source("pools", _read)


def _forget() -> None:
    """In a forked child: its parent's connections are not its own, not even to close."""
    global _guard  # noqa: PLW0603 - a thread of the parent may have held it
    _guard = threading.Lock()
    _inherited.append((dict(_pools), dict(_closers)))
    _pools.clear()
    _closers.clear()


# What a fork took over; kept, because a finaliser would speak to the parent's servers.
_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget)
