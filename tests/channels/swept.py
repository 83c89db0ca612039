"""A sweep of sockets: their server cancels them at each moment of their life, once and twice.

`cancel_sweep` cancels a coroutine at its own waits. A socket's server waits for one thing only,
its end, while the application goes on in a task of its own; so moments are counted there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from onloop.channels import shutdown, socket_stats
from onloop.testing import LeakLedger
from tests.channels.conftest import DEADLINE_S

MOST = 200
# How often, and when: once; again in the loop's next turn; at each moment from there on.
WAYS = ("once", "again soon", "again and again")

Message = dict[str, Any]


class Moments:
    """Cancels the server's task at the moment `at`, counted from 0; None: at none."""

    def __init__(self, at: int | None = None, way: str = "once") -> None:
        self.task: asyncio.Task[None] | None = None
        self.passed = 0
        self._at = at
        self._way = way

    def __call__(self) -> None:
        assert self.task is not None
        moment, self.passed = self.passed, self.passed + 1
        if moment == self._at:
            self.task.cancel()
            if self._way == "again soon":
                asyncio.get_running_loop().call_soon(self.task.cancel)
        elif self.reached and self._way == "again and again":
            self.task.cancel()

    @property
    def reached(self) -> bool:
        return self._at is not None and self.passed > self._at


async def serve(
    application: Callable[..., Awaitable[None]],
    moment: Moments,
    messages: list[Message],
    **scope: Any,
) -> None:
    """A server's side: both `receive` and `send` have a moment before and after their wait.

    So may the application, by `scope["moment"]()`.
    """

    async def receive() -> Message:
        moment()
        await asyncio.sleep(0)
        moment()
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        moment()
        await asyncio.sleep(0)
        moment()

    whole = {
        "type": "websocket", "path": "/", "query_string": b"", "headers": [],
        "subprotocols": [], "client": ("127.0.0.1", 50000), "server": ("testserver", 80),
        "moment": moment, **scope,
    }  # fmt: skip
    await application(whole, receive, send)


async def sweep(
    begin: Callable[[Moments], Awaitable[None]],
    check: Callable[[], Awaitable[None]],
    ledger: LeakLedger,
) -> int:
    """Run `begin(moment)` until one ends before it is cancelled; return how many were.

    After each, nothing is left of the socket, and `check()` passes.
    """
    await _run(begin, Moments())
    await check()
    ledger.start()
    cancelled = 0
    for way in WAYS:
        for at in range(MOST):
            moments = Moments(at, way)
            task = await _run(begin, moments)
            assert task.cancelled() == moments.reached, f"moment {at}, {way}: {task}"
            assert socket_stats()["open"] == 0, f"moment {at}, {way}"
            assert not shutdown._of_running_loop().open, f"moment {at}, {way}"
            await check()
            await ledger.averify()
            if not moments.reached:
                break
            cancelled += 1
        else:
            raise AssertionError(f"after {MOST} moments there are more")
    return cancelled


async def _run(
    begin: Callable[[Moments], Awaitable[None]], moments: Moments
) -> asyncio.Task[None]:
    task = moments.task = asyncio.ensure_future(begin(moments))  # type: ignore[assignment]
    await asyncio.wait([task], timeout=DEADLINE_S)
    assert task.done(), f"it hangs: {task.get_stack()}"
    if not task.cancelled():
        task.result()
    return task
