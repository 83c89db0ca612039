"""The channel layer for one process. For several see `onloop.channels.redis`."""

from __future__ import annotations

import asyncio
import time
from copy import deepcopy
from typing import Any

from channels import layers
from channels.exceptions import ChannelFull

from onloop.channels.losses import Losses


class InMemoryChannelLayer(layers.InMemoryChannelLayer):
    """Channels' layer in memory, for all threads and loops of a process.

    Channels' own loses what another thread sends: its queues wake nobody in another loop. And
    what `group_send` could not put into a full channel is counted: `stats()`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}
        self._losses = Losses()

    def stats(self) -> dict[str, int]:
        """`dropped`: how many messages a full channel did not take."""
        return {"dropped": self._losses.count}

    async def receive(self, channel: str) -> Any:
        self._loops[channel] = asyncio.get_running_loop()
        try:
            return await super().receive(channel)
        except asyncio.CancelledError:  # its consumer ends
            self._loops.pop(channel, None)
            raise

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        loop = self._loops.get(channel)
        if loop is None or loop is asyncio.get_running_loop():
            try:
                await super().send(channel, message)
            except ChannelFull:
                self._losses.add(channel, self.get_capacity(channel))
                raise
            return
        self.require_valid_channel_name(channel)
        try:
            loop.call_soon_threadsafe(self._put, channel, deepcopy(message))
        except RuntimeError:  # that loop has been closed
            self._loops.pop(channel, None)

    def _put(self, channel: str, message: dict[str, Any]) -> None:
        queue = self.channels.setdefault(
            channel, asyncio.Queue(maxsize=self.get_capacity(channel))
        )
        try:
            queue.put_nowait((time.time() + self.expiry, message))
        except asyncio.QueueFull:
            self._losses.add(channel, self.get_capacity(channel))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        for channel in list(self.groups.get(group, ())):
            try:
                await self.send(channel, message)
            except ChannelFull:  # counted
                pass
