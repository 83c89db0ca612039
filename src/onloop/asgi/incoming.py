"""What comes in over `receive`, and the one place that calls it.

A body that came whole in the first message needs none of this. For any other, and to hear of
the client's leaving, a task reads ahead: never by more than `READ_AHEAD` bytes, so that the
server holds its client back, and a body of any size takes no more memory than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from onloop.asgi.errors import BodyTimeout, BodyTooBig, ClientDisconnected, WrongLength
from onloop.asgi.limits import Limits
from onloop.asgi.messages import piece_of

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

logger = logging.getLogger("onloop.asgi")

# Bytes that are kept of a body that nobody has asked for yet. Servers keep some of their own.
READ_AHEAD = 2**16
# Seconds that a client whose body is not wanted is given to read its response. To close the
# connection with bytes unread would take the response from it.
LINGER_S = 2.0
# Pieces are put together up to this many bytes: a client may send one by one.
SMALL = 4096


class Incoming:
    """The pieces of a request's body, and then its client's leaving.

    `piece` is the first one, `complete` that it is the last as well. `when_left` is called when
    the client leaves. `declared` is the length that the client gave, None if it gave none that
    can be relied upon.
    """

    def __init__(
        self,
        receive: Receive,
        piece: bytes,
        *,
        complete: bool,
        limits: Limits,
        declared: int | None,
        when_left: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.declared = declared
        self.complete = complete
        self._receive = receive
        self._when_left = when_left
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._kept = 0  # bytes in `_pieces`
        self._received = 0
        self._waited = 0.0  # seconds that readers have waited for the client
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Future[None]] = set()
        self._space: asyncio.Future[None] | None = None
        self._lingering: asyncio.Future[None] | None = None
        self._left = False
        self._keep(piece)

    # --- reading ----------------------------------------------------------------------------

    async def piece(self, at_most: int | None = None) -> bytes:
        """Return the next piece of the body, of `at_most` bytes; b"" at the end.

        Raises `BodyTooBig` and `BodyTimeout` by the limits, `WrongLength` if more comes than
        was declared, and `ClientDisconnected` (an `UnreadablePostError`) if the client is gone.
        """
        while True:
            self.check_size()
            if self._pieces:
                break
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self.complete:
                return b""
            await self._arrival()
        piece = self._pieces.popleft()
        if at_most is not None and len(piece) > at_most:
            self._pieces.appendleft(piece[at_most:])
            piece = piece[:at_most]
        self._kept -= len(piece)
        if self._space is not None and self._kept < READ_AHEAD and not self._space.done():
            self._space.set_result(None)
        return piece

    def check_size(self) -> None:
        """Raise `BodyTooBig` if more has come, or was declared, than the limit.

        When it is read and not as it comes: the limit may be the view's own.
        """
        if max(self._received, self.declared or 0) > self.limits.max_body:
            error = BodyTooBig(self.limits.max_body)
            self.fail(error)
            raise error

    def put_back(self, piece: bytes) -> None:
        """Let `piece`, the end of the one that was read last, be read again."""
        if piece and self._error is None:
            self._pieces.appendleft(piece)
            self._kept += len(piece)

    async def _arrival(self) -> None:
        """Wait for the next message, by the limits of time."""
        self.start()
        limit = min(self.limits.chunk_timeout, self.limits.body_timeout - self._waited)
        reader = self._loop.create_future()
        self._readers.add(reader)
        begun = self._loop.time()
        timer = self._loop.call_later(max(limit, 0), self._time_out, reader)
        try:
            await reader
        finally:
            timer.cancel()
            self._readers.discard(reader)
            self._waited += self._loop.time() - begun

    def _time_out(self, reader: asyncio.Future[None]) -> None:
        if not reader.done():
            self.fail(BodyTimeout(self._received))

    def fail(self, error: BaseException) -> None:
        """Let all who read, and all who will, have `error`."""
        if self._error is None:
            self._error = error
            self._pieces.clear()
            self._kept = 0
        self._wake()

    @property
    def is_late(self) -> bool:
        """The client has stopped sending: there is nothing to throw away."""
        return isinstance(self._error, BodyTimeout)

    async def linger(self) -> None:
        """Throw the body away until it is over, the client leaves, or `LINGER_S` is over."""
        if self.complete or self._left or (self._task is not None and self._task.done()):
            return  # nothing comes any more
        self.fail(ClientDisconnected("The response is complete."))
        if self._space is not None and not self._space.done():
            self._space.set_result(None)
        self._lingering = self._loop.create_future()
        timer = self._loop.call_later(LINGER_S, self._linger_no_more)
        self.start()
        try:
            await self._lingering
        finally:
            timer.cancel()

    def _linger_no_more(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    # --- receiving --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to receive, if that has not begun."""
        if self._task is None:
            # Not through the loop's task factory: this one needs no bridge.
            self._task = asyncio.Task(self._receive_all(), loop=self._loop)

    def stop(self) -> None:
        """End receiving; to be called once the request is over.

        What refers to each other lets go: left to the garbage collector, requests that were
        watched would be freed in bulk, while nothing else runs.
        """
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._when_left = _ignore
        self._error = None  # which was raised, and refers to the frames of who has read
        self.fail(ClientDisconnected("The request is over."))

    async def _receive_all(self) -> None:
        while True:
            if self._kept >= READ_AHEAD:
                self._space = self._loop.create_future()
                await self._space
                continue
            try:
                message = await self._receive()
                piece = piece_of(message)
            except Exception as exc:
                logger.exception("The server failed while a request waited for its client.")
                self.fail(exc)
                return
            if piece is None:
                self._left = True
                if not self.complete:
                    self.fail(ClientDisconnected("The client left in the middle of its body."))
                if self._lingering is None:
                    self._when_left()
                self._linger_no_more()
                return
            kept = False
            if not self.complete:
                kept = self._keep(piece)
                self.complete = not message.get("more_body", False)
                if kept or self.complete:  # an empty piece gives nobody more time
                    self._wake()
                if self.complete:
                    self._linger_no_more()
            if not kept:
                # Of pieces that fill nothing there may be any number, and a `receive` that has
                # them all at hand never waits.
                await asyncio.sleep(0)

    def _keep(self, piece: bytes) -> bool:
        """Keep `piece` for those who read; tell whether there was anything to keep."""
        if not piece or self._error is not None:
            return False
        self._received += len(piece)
        if self.declared is not None and self._received > self.declared:
            self.fail(WrongLength(self.declared))
        else:
            self._kept += len(piece)
            if self._pieces and len(self._pieces[-1]) + len(piece) <= SMALL:
                piece = self._pieces.pop() + piece
            self._pieces.append(piece)
        return True

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)


def _ignore() -> None:
    pass
