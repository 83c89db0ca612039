"""A cancellation sweep: the same work, cancelled at its first wait, its second, and so on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any


class _Sweeper:
    """Awaits a coroutine and cancels its task each time it waits for one of `at`."""

    def __init__(self, coro: Coroutine[Any, Any, Any], at: set[int]) -> None:
        self._coro = coro
        self._at = at
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coro.__await__()
        resume, argument = steps.send, None
        while True:
            try:
                waited_for = resume(argument)
            except StopIteration as stop:
                return stop.value
            self.waits += 1
            if self.waits in self._at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # arrives at the wait that is about to begin
            try:
                argument, resume = (yield waited_for), steps.send
            except BaseException as exc:  # noqa: BLE001 - it belongs to the coroutine
                argument, resume = exc, steps.throw


async def sweep(
    work: Callable[[], Coroutine[Any, Any, Any]], *, twice: bool = False
) -> AsyncIterator[BaseException | None]:
    """Run `work` once for each of its waits, cancelled there; yield how each run ended.

    `twice`: cancelled at the wait after that as well. Ends after the run that had no wait
    left to be cancelled at.
    """
    at = 0
    while True:
        at += 1
        assert at < 500, "the work does not end"
        sweeper = _Sweeper(work(), {at, at + 1} if twice else {at})

        async def run(sweeper: _Sweeper = sweeper) -> None:
            await sweeper

        task = asyncio.create_task(run())
        await asyncio.wait([task])
        # The scope of a task ends by a callback that may run after whoever awaited it.
        await asyncio.sleep(0)
        yield asyncio.CancelledError() if task.cancelled() else task.exception()
        if sweeper.waits < at:
            return
