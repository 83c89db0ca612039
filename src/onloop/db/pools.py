"""Which pool serves which event loop: one per loop, alias and database name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

from onloop import bridge
from onloop.db.pool import Pool

_guard = threading.Lock()
_pools: dict[asyncio.AbstractEventLoop, dict[tuple[str, str], Pool[Any]]] = {}
_closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}


def pool_for(
    loop: asyncio.AbstractEventLoop, alias: str, name: str, make: Callable[[], Pool[Any]]
) -> Pool[Any]:
    """Return the pool of `loop` for the database `name` of `alias`, made if need be."""
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
            mine[key] = make()
        pool = mine[key]
    _sweep()
    if loop not in _closers and bridge.active():
        closer = _close_with_loop(loop)
        _closers[loop] = closer
        bridge.await_(closer.__anext__())
    return pool


def pools_of(loop: asyncio.AbstractEventLoop) -> list[Pool[Any]]:
    return list(_pools.get(loop, {}).values())


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


async def _close_with_loop(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    """Stay suspended until `asyncio.run` shuts the loop's async generators down."""
    try:
        yield
    finally:
        _closers.pop(loop, None)
        close_pools(loop)


def _sweep() -> None:
    """Close the pools of loops that ended without shutting their generators down."""
    for loop in [loop for loop in list(_pools) if loop.is_closed()]:
        _closers.pop(loop, None)
        close_pools(loop)
