"""Channel layers on Redis, for many processes: those of `channels_redis`, made to last.

What is added: processes that share a channel get each message once; a full channel is counted
and told (`stats()`); while Redis is away consumers go on waiting instead of ending, and are in
their groups again when it is back; what killed processes leave in groups expires within
`group_expiry` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from channels_redis import core, pubsub  # type: ignore[import-untyped]
from channels_redis.utils import (  # type: ignore[import-untyped]
    _wrap_close,
    decode_hosts,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from onloop.channels.losses import Losses
from onloop.channels.pops import Pops

T = TypeVar("T")

logger = logging.getLogger("onloop.channels")

# What the clients of Redis raise while it is away, restarts or fails over.
AWAY = (RedisError, OSError)
# Seconds between attempts: from the one to the other.
BACK_OFF_S = (0.1, 2.0)
# Each connection notices an outage by itself, some when it is over: it is told once.
QUIET_S = 5.0

# Puts each message into its channel unless that is full; returns which were.
_SEND_TO_GROUP = """
local full = {}
local count = #KEYS
for i, key in ipairs(KEYS) do
    if redis.call('ZCARD', key) < tonumber(ARGV[count + i]) then
        redis.call('ZADD', key, ARGV[2 * count + 1], ARGV[i])
        redis.call('EXPIRE', key, ARGV[2 * count + 2])
    else
        full[#full + 1] = i
    end
end
return full
"""


async def _once_more(command: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Call `command`, and again if its connection proves to be dead.

    After a restart of Redis every idle connection is. Not for reading from a channel: who reads
    must notice that Redis was away, and may have forgotten its groups.
    """
    try:
        return await command(*args)
    except RedisConnectionError:
        return await command(*args)


def _trying_twice(hosts: Any) -> list[dict[str, Any]]:
    """The same for the connections of pub/sub, which subscribe again by themselves."""
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return [{"retry": retry, **host} for host in decode_hosts(hosts)]


class Outage:
    """Waits longer and longer while Redis is away, and tells when it goes and comes back."""

    def __init__(self) -> None:
        self.is_on = False
        self._told_at: float | None = None
        self._pause_s = BACK_OFF_S[0]

    async def wait(self, error: BaseException) -> None:
        now = time.monotonic()
        if self._told_at is None or (not self.is_on and now - self._told_at > QUIET_S):
            self._told_at = now
            logger.error(
                "Redis, the channel layer, is away: %s: %s. Consumers wait.",
                type(error).__name__,
                error,
            )
        self.is_on = True
        await asyncio.sleep(random.uniform(self._pause_s / 2, self._pause_s))  # noqa: S311
        self._pause_s = min(2 * self._pause_s, BACK_OFF_S[1])

    def over(self) -> None:
        if self.is_on:
            logger.warning("Redis, the channel layer, is back.")
        self.is_on, self._pause_s = False, BACK_OFF_S[0]


class _CountingQueue(core.BoundedQueue):  # type: ignore[misc] # untyped
    """The messages of one channel in this process: the oldest goes when it is full."""

    def __init__(self, capacity: int, losses: Losses) -> None:
        super().__init__(capacity)
        self._losses = losses

    def put_nowait(self, item: Any) -> None:
        if self.full():
            self._losses.add("of a consumer in this process", self.maxsize)
        super().put_nowait(item)


class RedisChannelLayer(core.RedisChannelLayer):  # type: ignore[misc] # untyped
    """`channels_redis.core.RedisChannelLayer` that heals.

    `group_expiry` is 30 seconds by default, since memberships of this process are renewed for
    as long as their consumers wait for messages.
    """

    # Seconds of one attempt to read: below the 5 that redis-py waits for any answer since its
    # version 8, with which Channels' own 5 fail each time that nothing comes.
    brpop_timeout = 2

    def __init__(self, hosts: Any = None, group_expiry: int = 30, **kwargs: Any) -> None:
        super().__init__(hosts, group_expiry=group_expiry, **kwargs)
        self._losses = Losses()
        self._pops = Pops(int(self.expiry))
        self.receive_buffer: defaultdict[str, _CountingQueue] = defaultdict(
            functools.partial(_CountingQueue, self.capacity, self._losses)
        )
        # Groups of the channels of this process, and since when nobody waits at a channel.
        self._groups: dict[str, set[str]] = {}
        self._idle_since: dict[str, float] = {}
        self._renewing: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._outage = Outage()

    def stats(self) -> dict[str, int]:
        """`dropped`: how many messages a full channel did not take, of those sent from here."""
        return {"dropped": self._losses.count}

    async def receive(self, channel: str) -> Any:
        self._idle_since.pop(channel, None)
        try:
            while True:
                try:
                    return await super().receive(channel)
                except AWAY as exc:
                    await self._until_it_answers(exc)
        except asyncio.CancelledError:  # its consumer ends
            if channel in self._groups:
                self._idle_since[channel] = time.monotonic()
            raise

    async def _brpop_with_clean(self, index: int, channel: str, timeout: float) -> Any:
        shared = not channel.endswith("!")  # else it is of this process alone
        return await self._pops.pop(self.connection(index), channel, timeout, shared=shared)

    async def _clean_receive_backup(self, index: int, channel: str) -> None:
        """There is no backup."""

    async def close_pools(self) -> None:
        await self._pops.close()
        await super().close_pools()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        try:
            await _once_more(super().send, channel, message)
        except core.ChannelFull:
            self._losses.add(channel, self.get_capacity(channel))
            raise

    # --- groups -----------------------------------------------------------------------------

    async def group_add(self, group: str, channel: str) -> None:
        await _once_more(super().group_add, group, channel)
        if self.client_prefix in channel:
            self._groups.setdefault(channel, set()).add(group)
            self._keep_renewing()

    async def group_discard(self, group: str, channel: str) -> None:
        groups = self._groups.get(channel, set())
        groups.discard(group)
        if not groups:
            self._forget(channel)
        await _once_more(super().group_discard, group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await _once_more(self._group_send, [group], message)

    async def group_send_many(self, groups: list[str], message: dict[str, Any]) -> None:
        """Send to several groups; a channel that is in some of them gets the message once."""
        await _once_more(self._group_send, groups, message)

    async def _group_send(self, groups: list[str], message: dict[str, Any]) -> None:
        now = time.time()
        names = await self._channels_in(groups, now)
        by_host, messages, capacities = self._map_channel_keys_to_connection(names, message)
        for index, keys in by_host.items():
            connection = self.connection(index)
            async with connection.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.zremrangebyscore(key, 0, now - self.expiry)
                pipe.eval(
                    _SEND_TO_GROUP,
                    len(keys),
                    *keys,
                    *(messages[key] for key in keys),
                    *(capacities[key] for key in keys),
                    now,
                    int(self.expiry),
                )
                full = (await pipe.execute())[-1]
            for number in full:
                key = keys[number - 1]
                self._losses.add(key, capacities[key])

    async def _channels_in(self, groups: list[str], now: float) -> list[str]:
        keys: dict[int, list[str]] = {}
        for group in groups:
            assert self.require_valid_group_name(group), "Group name not valid"
            keys.setdefault(self.consistent_hash(group), []).append(self._group_key(group))
        names: set[bytes] = set()
        for index, some in keys.items():
            async with self.connection(index).pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.zremrangebyscore(key, 0, now - self.group_expiry)
                    pipe.zrange(key, 0, -1)
                names.update(*(await pipe.execute())[1::2])
        return [name.decode() for name in names]

    # --- renewing memberships ---------------------------------------------------------------

    def _forget(self, channel: str) -> None:
        self._groups.pop(channel, None)
        self._idle_since.pop(channel, None)
        if not self._groups:
            for loop in list(self._renewing):
                task = self._renewing.pop(loop)
                with contextlib.suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(task.cancel)

    def _keep_renewing(self) -> None:
        loop = asyncio.get_running_loop()
        for dead in [other for other in self._renewing if other.is_closed()]:
            del self._renewing[dead]
        # One for each loop: that which had the first channel may end before the others.
        task = self._renewing.get(loop)
        if task is None or task.done():
            self._renewing[loop] = loop.create_task(
                self._renew_often(), context=contextvars.Context()
            )

    async def _renew_often(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            await asyncio.sleep(self.group_expiry / 3)
            now = time.monotonic()
            for channel, since in list(self._idle_since.items()):
                if now - since > self.group_expiry:
                    self._forget(channel)
            # Besides being cancelled: on Python 3.11 redis-py may swallow that.
            if self._renewing.get(loop) is not task:
                return
            try:
                await self._renew()
            except AWAY:  # `receive` tells
                pass

    async def _until_it_answers(self, error: BaseException) -> None:
        """Wait until channels are in their groups again: who reads before hears nothing."""
        while True:
            await self._outage.wait(error)
            if not self._outage.is_on:  # meanwhile another has seen to it
                return
            try:
                await self._renew()
            except AWAY as exc:
                error = exc
            else:
                self._outage.over()
                return

    async def _renew(self) -> None:
        """Put the channels of this process into their groups again, and take out the dead."""
        now = time.time()
        for index in range(self.ring_size):
            async with self.connection(index).pipeline(transaction=False) as pipe:
                for channel, groups in list(self._groups.items()):  # other threads change it
                    if channel in self._idle_since:
                        continue
                    for group in list(groups):
                        if self.consistent_hash(group) == index:
                            key = self._group_key(group)
                            pipe.zadd(key, {channel: now})
                            pipe.zremrangebyscore(key, 0, now - self.group_expiry)
                            pipe.expire(key, self.group_expiry)
                pipe.ping()
                await pipe.execute()


# --- pub/sub ----------------------------------------------------------------------------------


class _Queue(asyncio.Queue[Any]):
    """The messages of one channel; what does not go in any more is counted and dropped."""

    def __init__(self, channel: str, capacity: int, losses: Losses) -> None:
        super().__init__(capacity)
        self._channel = channel
        self._losses = losses

    def put_nowait(self, item: Any) -> None:
        if self.full():
            self._losses.add(self._channel, self.maxsize)
        else:
            super().put_nowait(item)


class _Shard(pubsub.RedisSingleShardConnection):  # type: ignore[misc] # untyped
    _receive_task: asyncio.Task[None] | None

    async def _do_receiving(self) -> None:
        outage = Outage()
        while True:
            try:
                if self._pubsub is None or not self._pubsub.subscribed:
                    await asyncio.sleep(0.1)
                    continue
                message = await self._pubsub.get_message(
                    ignore_subscribe_messages=True, timeout=1.0
                )
                outage.over()
                self._receive_message(message)
            except Exception as exc:  # noqa: BLE001 - the next attempt connects and subscribes again
                await outage.wait(exc)

    def _ensure_receiver(self) -> None:
        if self._receive_task is None:
            self._receive_task = asyncio.get_running_loop().create_task(
                self._do_receiving(), context=contextvars.Context()
            )


class _LoopLayer(pubsub.RedisPubSubLoopLayer):  # type: ignore[misc] # untyped
    def __init__(self, *args: Any, capacity: int, losses: Losses, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._capacity = capacity
        self._losses = losses
        self._shards: list[Any] = [_Shard(shard.host, self) for shard in self._shards]

    async def _subscribe_to_channel(self, channel: str) -> None:
        self.channels[channel] = _Queue(channel, self._capacity, self._losses)
        await self._get_shard(channel).subscribe(channel)


class RedisPubSubChannelLayer(pubsub.RedisPubSubChannelLayer):  # type: ignore[misc] # untyped
    """`channels_redis.pubsub.RedisPubSubChannelLayer`, whose channels have a `capacity`."""

    def __init__(self, hosts: Any = None, capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(_trying_twice(hosts), **kwargs)
        self._capacity = capacity
        self._losses = Losses()

    def stats(self) -> dict[str, int]:
        """`dropped`: how many messages a full channel of this process did not take."""
        return {"dropped": self._losses.count}

    def _get_layer(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = _LoopLayer(
                *self._args,
                **self._kwargs,
                channel_layer=self,
                capacity=self._capacity,
                losses=self._losses,
            )
            _wrap_close(self, loop)
        return self._layers[loop]
