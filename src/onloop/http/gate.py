"""How many requests are under way at once, in all and to each host, and who waits for that.

Places are handed over by plain calls, so a cancellation cannot lose one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

import httpx

from onloop.http.errors import TooManyWaiters


class Gate:
    """At most `most` requests at once, `most_per_host` to one host, `most_waiting` in line.

    Who has waited longest and may go is next: a host that is crowded does not hold up others.
    """

    def __init__(self, most: int, most_per_host: int, most_waiting: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._most_waiting = most_waiting
        self.under_way = 0
        self._at_host: Counter[str] = Counter()
        self._line: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def enter(self, host: str, timeout_s: float | None) -> None:
        """Take a place for a request to `host`, waiting `timeout_s` seconds at most.

        Raises `TooManyWaiters` at once if the line is full, and `httpx.PoolTimeout`.
        """
        if self._is_open(host):
            self._take(host)
            return
        if len(self._line) >= self._most_waiting:
            raise TooManyWaiters(
                f"No place for a request to {host}: {self._state(host)}, and that is as many "
                'as may wait (ONLOOP["HTTP"]["MAX_WAITING"]).'
            )
        place = asyncio.get_running_loop().create_future()
        entry = host, place
        self._line.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await place
        except BaseException as exc:
            if place.done() and not place.cancelled():
                self.leave(host)  # it was given one that it does not want any more
            else:
                self._line.remove(entry)
            if isinstance(exc, TimeoutError):
                raise httpx.PoolTimeout(
                    f"No place for a request to {host} within {timeout_s:g} s: "
                    f'{self._state(host)} (ONLOOP["HTTP"]["MAX_CONNECTIONS"], '
                    '["MAX_PER_HOST"], ["POOL_TIMEOUT"]).'
                ) from None
            raise

    def leave(self, host: str) -> None:
        """Give a place back; whoever may go now goes."""
        self.under_way -= 1
        self._at_host[host] -= 1
        if not self._at_host[host]:
            del self._at_host[host]
        for entry in list(self._line):
            host, place = entry
            if self.under_way >= self._most:
                return
            if not place.done() and self._is_open(host):
                self._line.remove(entry)
                self._take(host)
                place.set_result(None)

    def _is_open(self, host: str) -> bool:
        return self.under_way < self._most and self._at_host[host] < self._most_per_host

    def _take(self, host: str) -> None:
        self.under_way += 1
        self._at_host[host] += 1

    def _state(self, host: str) -> str:
        return (
            f"{self.under_way} are under way, {self._at_host[host]} of them to this host, and "
            f"{len(self._line)} wait"
        )
