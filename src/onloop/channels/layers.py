"""The channel layer for one process. For several see `onloop.channels.redis`."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from copy import deepcopy
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from onloop.channels.losses import Losses

Message = dict[str, Any]

# Seconds between two looks at all channels and groups for what nobody will receive any more.
SWEEP_EVERY_S = 10.0

_UNCHANGING = frozenset((str, int, float, bool, bytes, type(None)))


class InMemoryChannelLayer(BaseChannelLayer):
    """A layer in memory, for all threads and loops of a process.

    It takes the options of Channels' own, which loses what another thread sends, since its
    queues wake nobody in another loop, and looks through all channels for each message. What
    `group_send` could not put into a full channel is counted: `stats()`.

    `expiry`: seconds that a message waits for its receiver; `group_expiry`: seconds that a
    channel is in a group; `capacity`: messages that may wait in a channel.
    """

    extensions = ("groups", "flush")

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity)  # type: ignore[arg-type]
        # A list, as `get_capacity` reads it.
        self.channel_capacity: Any = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.channels: dict[str, _Mailbox] = {}
        self.groups: dict[str, dict[str, float]] = {}
        self._losses = Losses()
        # Around all of it; nothing waits while it is held.
        self._guard = threading.Lock()
        self._swept_at = time.monotonic()

    def stats(self) -> dict[str, int]:
        """`dropped`: how many messages a full channel did not take."""
        return {"dropped": self._losses.count}

    # --- channels -----------------------------------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        """Put a copy of `message` into `channel`. Raises `ChannelFull`."""
        _check(message)
        self.require_valid_channel_name(channel)
        self._put(channel, message)

    def _put(self, channel: str, message: Message) -> None:
        now = time.monotonic()
        with self._guard:
            self._sweep(now)
            box = self.channels.get(channel)
            if box is None:
                box = self.channels[channel] = _Mailbox()
            else:
                self._expire(channel, box, now)
            capacity = self.get_capacity(channel)
            if len(box.messages) < capacity:
                box.messages.append((now + self.expiry, _copy_of(message)))
                box.wake()
                return
        self._losses.add(channel, capacity)
        raise ChannelFull(channel)

    async def receive(self, channel: str) -> Message:
        """Return the next message of `channel`, for which several tasks may wait."""
        self.require_valid_channel_name(channel)
        while True:
            got = self._take(channel)
            if isinstance(got, dict):
                return got
            try:
                await got
            except asyncio.CancelledError:
                self._forgo(channel, got)
                raise

    def _take(self, channel: str) -> Message | asyncio.Future[None]:
        """The next message of `channel`; if there is none, a future that is done with one."""
        now = time.monotonic()
        with self._guard:
            self._sweep(now)
            box = self.channels.get(channel)
            if box is None:
                box = self.channels[channel] = _Mailbox()
            self._expire(channel, box, now)
            if box.messages:
                _, message = box.messages.pop(0)
                self._leave(channel, box)
                return message
            waiter = asyncio.get_running_loop().create_future()
            box.waiting.append(waiter)
            return waiter

    def _forgo(self, channel: str, waiter: asyncio.Future[None]) -> None:
        """Nobody waits for `waiter` any more."""
        with self._guard:
            box = self.channels.get(channel)
            if box is None:
                return
            if waiter in box.waiting:
                box.waiting.remove(waiter)
            elif box.messages:
                box.wake()  # it was this one's to receive
            self._leave(channel, box)

    def _leave(self, channel: str, box: _Mailbox) -> None:
        if not box.messages and not box.waiting and self.channels.get(channel) is box:
            del self.channels[channel]

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a channel that nobody else has."""
        return f"{prefix}.inmemory!{secrets.token_hex(8)}"

    # --- groups -------------------------------------------------------------------------------

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        with self._guard:
            self.groups.setdefault(group, {})[channel] = time.monotonic()

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_channel_name(channel)
        self.require_valid_group_name(group)
        with self._guard:
            self._take_out(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        """Send `message` to the channels of `group`; a full one drops it, which is counted."""
        _check(message)
        self.require_valid_group_name(group)
        with self._guard:
            members = list(self.groups.get(group, ()))
        for channel in members:
            try:
                self._put(channel, message)
            except ChannelFull:  # counted
                pass

    def _take_out(self, group: str, channel: str) -> None:
        members = self.groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self.groups.pop(group, None)

    # --- what is over -------------------------------------------------------------------------

    def _expire(self, channel: str, box: _Mailbox, now: float) -> None:
        """Drop messages that waited too long; their channel, it seems, has no receiver."""
        if not box.messages or box.messages[0][0] >= now:
            return
        while box.messages and box.messages[0][0] < now:
            del box.messages[0]
        for group in list(self.groups):
            self._take_out(group, channel)

    def _sweep(self, now: float) -> None:
        if now < self._swept_at + min(SWEEP_EVERY_S, self.expiry):
            return
        self._swept_at = now
        for channel, box in list(self.channels.items()):
            self._expire(channel, box, now)
            self._leave(channel, box)
        for group, members in list(self.groups.items()):
            for channel, since in list(members.items()):
                if since + self.group_expiry < now:
                    self._take_out(group, channel)

    async def flush(self) -> None:
        """Forget all messages and groups; who waits goes on waiting."""
        with self._guard:
            self.groups.clear()
            for channel, box in list(self.channels.items()):
                box.messages.clear()
                self._leave(channel, box)

    async def close(self) -> None:
        """Nothing is open."""


class _Mailbox:
    """What waits in a channel, and who waits for it. Lists, of which most are empty."""

    __slots__ = ("messages", "waiting")

    def __init__(self) -> None:
        self.messages: list[tuple[float, Message]] = []
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        """Wake the first who waits, on whichever loop that is."""
        while self.waiting:
            waiter = self.waiting.pop(0)
            loop = waiter.get_loop()
            if _is_running(loop):
                if not waiter.done():
                    waiter.set_result(None)
                    return
            else:
                try:
                    loop.call_soon_threadsafe(_set, waiter)
                except RuntimeError:  # it has been closed
                    continue
                return


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _check(message: Any) -> None:
    if not isinstance(message, dict):
        raise TypeError(f"A message is a dict, not {message!r}.")


def _copy_of(message: Message) -> Message:
    """A copy that shares nothing that can change."""
    if all(type(value) in _UNCHANGING for value in message.values()):
        return dict(message)
    return deepcopy(message)
