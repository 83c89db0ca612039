"""Until when a consumer may be busy with a message.

A session sees what its application asks the server for, and not what that hears from a channel
layer; while a consumer handles such a message, it waits for the next one of its client too. So
what hands messages to consumers says when they are busy.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context, ContextVar, copy_context


class Busy:
    """`with busy:` around the handling of a message.

    `until` is the loop's time at which it has taken too long, None between messages.
    """

    __slots__ = ("_timeout_s", "until")

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s`: seconds; 0 is any time."""
        self._timeout_s = timeout_s or math.inf
        self.until: float | None = None

    def __enter__(self) -> None:
        self.until = asyncio.get_running_loop().time() + self._timeout_s

    def __exit__(self, *exc: object) -> None:
        self.until = None

    def go_on(self) -> None:
        """It does something, and has its time for the next thing."""
        if self.until is not None:
            self.__enter__()


# That of the socket whose application runs in this context. Not the session itself: tasks that
# a consumer begins may outlive it.
of_socket: ContextVar[Busy | None] = ContextVar("onloop_socket_busy", default=None)


def with_busy(busy: Busy) -> Context:
    """This context, for the task of a socket's application."""
    context = copy_context()
    context.run(of_socket.set, busy)
    return context
