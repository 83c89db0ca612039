"""Waiting, bounded, for a state that only an outsider can see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Against a state that never comes; a slow machine takes its time.
DEADLINE_S = 90


async def eventually(
    condition: Callable[[], T | Awaitable[T]], what: str = "the state that was waited for"
) -> T:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer: Any = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE_S:g} s"
        await asyncio.sleep(0.005)
