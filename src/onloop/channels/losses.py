"""What a channel layer could not deliver, counted and told."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("onloop.channels")

# Losses are told the first time, and again each time there are so many.
TOLD_EVERY = 100


class Losses:
    """How many messages a layer has dropped because a channel was full."""

    def __init__(self) -> None:
        self.count = 0
        self._told_at = 0
        self._guard = threading.Lock()

    def add(self, channel: str, capacity: int, count: int = 1) -> None:
        with self._guard:
            self.count += count
            told = self._told_at and self.count < self._told_at + TOLD_EVERY
            if not told:
                self._told_at = self.count
        if not told:
            logger.warning(
                "The channel %s is full (capacity %d): a message is dropped, the %dth of this "
                "layer. Its consumer is too slow; `capacity` of the layer may be larger.",
                channel,
                capacity,
                self.count,
            )
