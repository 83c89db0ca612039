"""What is read and written beside a job: each time in a scope of its own, and never for ever.

A connection may say nothing any more though the database is there, after a failover, say. Who
waited for it would tell no more of the job, nor let it end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from onloop import bridge
from onloop.asgi.unit import in_own_scope
from onloop.db.pools import pools_of

T = TypeVar("T")

# Seconds that the database may take, before it is asked again: more than it takes to find that
# an idle connection is dead, and to open another one.
TRY_S = 8.0


async def beside(function: Callable[..., T], *args: Any) -> T:
    """Call a function of `onloop.tasks.records`.

    Raises what it raises, and `TimeoutError` after `TRY_S` seconds and those that the driver
    takes to stop a statement.
    """
    try:
        async with asyncio.timeout(TRY_S) as time:
            return await bridge.run(in_own_scope, function, *args)
    except TimeoutError as exc:
        if time.expired():
            for pool in pools_of(asyncio.get_running_loop()):
                pool.suspect()  # its other connections may be as silent
            raise TimeoutError(f"no answer within {TRY_S:g} s") from exc
        raise
