"""The client of one request: its body, its leaving, and how long it is made to wait."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

from onloop import bridge
from onloop.asgi.incoming import Incoming, Message, Receive
from onloop.asgi.limits import of_settings
from onloop.asgi.request import Stream, declared_length
from onloop.bridge import await_

Send = Callable[[Message], Awaitable[None]]

# Seconds from a request's first wait to the watch for its client's leaving.
WATCH_AFTER_S = 0.02


class Client:
    """Cancels the request's task when its client leaves, or when it takes too long.

    The watch begins a moment after the request first waits for something. One that never waits
    cannot be cancelled, and for one that is done by then it would be the costlier part.
    """

    def __init__(
        self, asgi_scope: Message, receive: Receive, first: bytes, *, more_body: bool
    ) -> None:
        here = bridge.current()
        assert here is not None
        self.left = False
        self.timed_out = False
        self.limits = of_settings()
        self._receive = receive
        self._task = here.task
        self._loop = here.loop
        self._bridge = here
        self._responds = False
        self._timer: asyncio.TimerHandle | None = None
        self._waits_since = 0.0  # by the loop's clock
        self._incoming: Incoming | None = None
        self._ends_at: asyncio.TimerHandle | None = None
        self._size = len(first)
        most = self.limits.max_body
        declared = None
        if first or more_body:
            declared = declared_length(asgi_scope.get("headers", ()))
        if declared is not None:
            most = 0 if declared > most else declared
        if more_body or len(first) > most:
            self._incoming = self._from(first, declared, complete=not more_body)
            self.body: Any = Stream(self._incoming)
        else:
            self.body = io.BytesIO(first)
        here.before_first_wait = self._start

    def _from(self, piece: bytes, declared: int | None, *, complete: bool = True) -> Incoming:
        return Incoming(
            self._receive, piece,
            complete=complete, limits=self.limits, declared=declared, when_left=self._leave,
        )  # fmt: skip

    def apply_limits_of(self, view: Any, request: Any) -> None:
        """Have the view's own limits, as far as it has any, from now on."""
        limits = self.limits = self.limits.with_those_of(view)
        if self._incoming is None and self._size > limits.max_body:
            if not request._read_started:  # else it is out of our hands
                self._incoming = self._from(self.body.getvalue(), None)
                self.body = request._stream = Stream(self._incoming)
        elif self._incoming is not None:
            self._incoming.limits = limits
        if self._ends_at is not None:
            self._set_end()

    # --- what cancels the request -----------------------------------------------------------

    def _start(self) -> None:
        self._waits_since = self._loop.time()
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        if self._incoming is None:
            self._incoming = self._from(b"", None)
        self._incoming.start()
        self._set_end()

    def _set_end(self) -> None:
        if self._ends_at is not None:
            self._ends_at.cancel()
        if self.limits.request_timeout and not self._responds and self._timer is not None:
            ends_at = self._waits_since + self.limits.request_timeout
            self._ends_at = self._loop.call_at(ends_at, self._end)

    def responds(self) -> None:
        """The response begins: it is not late any more."""
        if self._ends_at is not None:
            self._ends_at.cancel()
        self._responds = True

    def lingering(self, send: Send) -> Send:
        """`send`, which gives a client that sends on the time to read its response.

        The last message, at which the server closes the connection, comes after that. What has
        come by then is taken as well: Hypercorn does not end a connection before.
        """
        incoming = self._incoming
        if incoming is None or incoming.is_late:
            return send

        async def lingering(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await send({**message, "more_body": True})
                await incoming.linger()
                await send({"type": "http.response.body"})
                await incoming.linger()
            else:
                await send(message)

        return lingering

    @property
    def sends_on(self) -> bool:
        """Whether a part of the body has not come yet."""
        return self._incoming is not None and not self._incoming.complete

    def _leave(self) -> None:
        self.left = True
        self._task.cancel()

    def _end(self) -> None:
        self.timed_out = True
        self._task.cancel()

    # --- its end ----------------------------------------------------------------------------

    def done(self) -> None:
        """End the watch; take the cancellations back that were this watch's.

        Django's requests are in reference cycles: by `request.user`, by its messages. The task
        and what the watch was made of would be freed with them, in bulk, by the collector.
        """
        self._bridge.before_first_wait = None
        if self._timer is not None:
            self._timer.cancel()
        if self._ends_at is not None:
            self._ends_at.cancel()
        if self._incoming is not None:
            self._incoming.stop()
        self.take_back()
        self._timer = self._ends_at = self._incoming = None
        del self._task, self._bridge, self._receive

    def take_back(self) -> None:
        """Take back what cancelled the request, so that it can go on."""
        for _ in range(self.left + self.timed_out):
            if self._task.uncancel() == 0:
                _swallow_pending_cancel()
        self.left = self.timed_out = False

    @property
    def alone(self) -> bool:
        """Nobody but this watch has cancelled the request."""
        return self._task.cancelling() == self.left + self.timed_out


def _swallow_pending_cancel() -> None:
    """Before Python 3.13 `uncancel` leaves a cancellation that was not raised yet pending."""
    try:
        await_(asyncio.sleep(0))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the server's, which came just now
