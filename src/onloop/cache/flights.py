"""One task computes, the others of its loop that want the same wait for it.

There is no lock that could stay locked: a flight lasts as long as the coroutine that leads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from onloop.bridge import interrupts

T = TypeVar("T")


class _Flight(Generic[T]):
    """A computation under way, and the futures of those who wait for its end."""

    __slots__ = ("error", "followers", "landed", "result", "task")

    result: T

    def __init__(self, task: asyncio.Task[object] | None) -> None:
        self.task = task
        self.landed = False
        self.error: Exception | None = None
        self.followers: list[asyncio.Future[None]] = []

    def end(self) -> None:
        for follower in self.followers:
            if not follower.done() and not follower.get_loop().is_closed():
                follower.set_result(None)


class Flights(Generic[T]):
    """Computations of one event loop, by what they compute."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, called by one of all who ask for `key` meanwhile.

        What it raises is raised by all of them. If the one is cancelled, another one begins
        anew. A task that asks for what it is computing itself computes it again.
        """
        task = asyncio.current_task()
        while (flight := self._flights.get(key)) is not None:
            if flight.task is task:
                return await work()
            follower = asyncio.get_running_loop().create_future()
            flight.followers.append(follower)
            await follower
            if flight.error is not None:
                raise flight.error
            if flight.landed:
                return flight.result
        flight = self._flights[key] = _Flight(task)
        try:
            flight.result = await work()
            flight.landed = True
            return flight.result
        except Exception as exc:
            if not interrupts(exc):  # a task's own soft time limit is nobody else's
                flight.error = exc
            raise
        finally:
            del self._flights[key]
            flight.end()
