"""Messages taken out of Redis: each once, and none lost because its reader was cancelled.

`channels_redis` takes a message out, puts it into a backup, and puts what is in there back
before it takes the next one, for readers that were cancelled in between. But the backup is one
for all processes, so those that share a channel are handed each other's messages again; and
what is on its way when a reader is cancelled is not in there yet. Here a message is taken out
by a task that nobody cancels: the next reader goes on with it, or its message is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from contextvars import Context
from typing import Any

from redis.exceptions import RedisError

# Seconds of one attempt where several processes read: so long a reader that is cancelled waits.
# Whole ones, as Redis 5 wants them.
SHARED_WAIT_S = 1

_Pop = asyncio.Task[Any]


class Pops:
    """Those of one layer. `expiry`: seconds that a message is kept which is put back."""

    def __init__(self, expiry: int) -> None:
        self._expiry = expiry
        # Under way, and their readers were cancelled.
        self._left: dict[tuple[asyncio.AbstractEventLoop, str], _Pop] = {}
        self._under_way: set[asyncio.Task[Any]] = set()

    async def pop(
        self, connection: Any, key: str, timeout_s: float, *, shared: bool
    ) -> bytes | None:
        """Return the first message in `key`; None if there is none within `timeout_s` seconds.

        `shared`: other processes read there too. Then this one leaves nothing under way, since
        its loop may be about to end. Raises what redis-py raises.
        """
        popping = self._left.pop((asyncio.get_running_loop(), key), None)
        if popping is None:
            wait_s = SHARED_WAIT_S if shared else timeout_s
            popping = self._start(connection.bzpopmin(key, timeout=wait_s))
        try:
            await asyncio.wait([popping])
        except asyncio.CancelledError:
            if shared:
                with contextlib.suppress(asyncio.CancelledError):  # again: it is urgent
                    await asyncio.wait([popping])
            putting = self._leave(connection, key, popping)
            if putting is not None and shared:
                await asyncio.wait([putting])
            raise
        found = popping.result()
        return None if found is None else found[1]

    def _leave(self, connection: Any, key: str, popping: _Pop) -> asyncio.Task[Any] | None:
        if popping.done():
            return self._put_back(connection, key, popping)
        self._left[popping.get_loop(), key] = popping
        popping.add_done_callback(functools.partial(self._unwanted, connection, key))
        return None

    def _unwanted(self, connection: Any, key: str, popping: _Pop) -> None:
        if self._left.get((popping.get_loop(), key)) is popping:  # nobody has gone on with it
            del self._left[popping.get_loop(), key]
            self._put_back(connection, key, popping)

    def _put_back(self, connection: Any, key: str, popping: _Pop) -> asyncio.Task[Any] | None:
        if popping.cancelled() or popping.exception() is not None or not popping.result():
            return None
        _, member, score = popping.result()
        return self._start(self._put(connection, key, member, score))

    async def _put(self, connection: Any, key: str, member: bytes, score: float) -> None:
        with contextlib.suppress(RedisError, OSError):  # it has gone with Redis, as all of them
            async with connection.pipeline(transaction=True) as pipe:
                pipe.zadd(key, {member: score})
                pipe.expire(key, self._expiry)
                await pipe.execute()

    def _start(self, coro: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coro, context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def close(self) -> None:
        """End what is under way on the running loop."""
        loop = asyncio.get_running_loop()
        if mine := [task for task in self._under_way if task.get_loop() is loop]:
            for task in mine:
                task.cancel()
            await asyncio.wait(mine)
