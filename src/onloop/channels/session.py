"""One socket between server and application: what passes, how long it takes, how it ends.

The application runs in a task of its own. So a socket can be ended from outside in the way in
which clients end it, by a `websocket.disconnect`, at which consumers leave their groups; only
who does not end then is cancelled.

There are thousands of these on which nothing happens, and each message comes by: a message
makes no task and, where nothing has to wait, no timer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine
from typing import Any

from onloop import conf
from onloop.channels import shutdown
from onloop.channels.bucket import Bucket
from onloop.channels.busy import Busy, with_busy
from onloop.channels.counts import counts
from onloop.channels.ends import ENDS, INTERNAL_ERROR, NO_STATUS, End
from onloop.channels.faults import is_clients_fault
from onloop.channels.handshake import Application, Message, Receive, Send, shown
from onloop.channels.steps import going_on, size_of, waited_for
from onloop.channels.wire import Wire, wire_of

logger = logging.getLogger("onloop.channels")

# Seconds in which a client must take the message that closes its socket.
CLOSE_WAIT_S = 2.0


class Session:
    """One socket's application, and what stands between it and the server.

    `begin(application)`, `await stopped`, `await conclude(...)`, and `leave()` in any case:
    steps for the coroutine of the middleware, since any other would be kept with the socket.
    """

    __slots__ = (
        "_application",
        "_bucket",
        "_busy",
        "_closing",
        "_deadline",
        "_ended",
        "_gave_up",
        "_giving_up",
        "_gone",
        "_interrupted",
        "_is_open",
        "_left",
        "_loop",
        "_lost",
        "_over",
        "_owner",
        "_receive",
        "_scope",
        "_send",
        "_settings",
        "_told",
        "_waiting",
        "_wire",
        "is_over",
        "stopped",
    )

    def __init__(
        self, scope: Message, receive: Receive, send: Send, owner: tuple[str, str]
    ) -> None:
        settings = self._settings = conf.get()
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._owner = owner
        self._receive = receive
        self._send = send
        self._wire: Wire = wire_of(send)
        self._bucket = Bucket(settings.SOCKET_RATE, settings.SOCKET_BURST, self._loop.time())
        self._busy = Busy(settings.SOCKET_CONSUMER_TIMEOUT)
        self._application: asyncio.Task[None] | None = None
        # Done when the application is, however it ends. Other than the task it can be cancelled
        # without it, and other than `asyncio.wait` it keeps no coroutine.
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None
        self.is_over = False
        self._over: asyncio.Future[None] | None = None
        # The task in which the application waits for a message, and whether its wait is to end.
        self._waiting: asyncio.Task[Any] | None = None
        self._interrupted = False
        # When it will have been idle, or its consumer stuck, for too long. A timer of the loop
        # looks at all sockets (`shutdown`): neither a socket nor a message has one.
        self._deadline: float | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._ended: End | None = None  # by us
        self._told = False  # the application, of that
        self._left = False  # the client, as the server says
        self._is_open = False  # the application has accepted it
        self._gone = False  # the client, or the application has closed by itself
        self._lost = False  # the client, as the server says to who sends
        self._gave_up = False

    # --- the application's life -------------------------------------------------------------

    def begin(self, inner: Application) -> None:
        """Run the application in its task."""
        running = inner(self._scope, self.receive, self.send)
        if not isinstance(running, Coroutine):
            running = waited_for(running)
        shutdown.opened(self, self._wire)
        self._touch()
        self._application = self._loop.create_task(running, context=with_busy(self._busy))
        self._application.add_done_callback(self._stop)

    def _stop(self, _: object) -> None:
        if not self.stopped.done():
            self.stopped.set_result(None)

    async def conclude(self, cancelled: asyncio.CancelledError | None) -> None:
        """Return when the application has ended; raise what it raised, or else `cancelled`.

        If it raised, an open socket is closed with 1011, on every server: of itself uvicorn
        would cut the connection, and the client would see a lost network.

        `cancelled`: what broke the wait for `stopped` off, by a server whose patience is over.
        Who waits for a message may leave as if the client had left; what is under way ends.
        """
        application = self._application
        assert application is not None
        try:
            if cancelled is not None:
                waits = self._waiting is not None and self._busy.until is None
                self.end("going_away")
                await self._wait_for_it(application, urgent=not waits)
            await self._conclude(application)
            if cancelled is not None:
                raise cancelled
        finally:
            del application, cancelled

    def leave(self) -> None:
        """Let go of everything. The session is over, however that came."""
        counts.leave(self._owner)
        self._deadline = None
        if self._giving_up is not None:
            self._giving_up.cancel()
        if self._closing is not None:
            self._closing.cancel()
        shutdown.ended(self)
        if self._wire.waits_for_takers and not self._left:
            shutdown.keep(self._loop.create_task(self._drain()))
        self.is_over = True
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        self._application = None

    async def _wait_for_it(self, application: asyncio.Task[None], *, urgent: bool) -> None:
        if urgent:
            application.cancel()
        while not application.done():
            try:
                await asyncio.wait([application])
            except asyncio.CancelledError:  # again: now it is urgent
                application.cancel()

    def until_over(self) -> asyncio.Future[None]:
        """A future that is done when the session is over: `leave` was called."""
        if self._over is None:
            self._over = self._loop.create_future()
            if self.is_over:
                self._over.set_result(None)
        return self._over

    async def _drain(self) -> None:
        """Take what still comes, until nothing does.

        Where nobody does, Hypercorn waits for ever with a message in its hand, and a task and
        what belongs to it are lost with every client that sends on.
        """
        most = self._settings.SOCKET_CLOSE_TIMEOUT
        self._loop.call_later(most, self._wire.abort)
        try:
            while True:
                async with asyncio.timeout(most):
                    await self._receive()
        except TimeoutError:
            pass

    async def _conclude(self, application: asyncio.Task[None]) -> None:
        if application.cancelled():
            if not self._gave_up and self._ended is None:
                raise asyncio.CancelledError  # it has cancelled itself
            error = None
        else:
            error = application.exception()
        try:
            if error is not None and is_clients_fault(error):
                self.end("malformed")
                error = None
            if self._closing is not None:
                await self._closing
            if error is not None:
                if self._is_open and not self._gone and self._ended is None:
                    await self._close(End(INTERNAL_ERROR, ""))
                raise error
        finally:
            del error

    # --- what the application calls ---------------------------------------------------------

    async def receive(self) -> Message:
        """The next message that the application may have; ASGI's `receive`."""
        while True:
            message = None
            if self._ended is None:
                self._set_deadline(self._settings.SOCKET_IDLE_TIMEOUT)
                task = asyncio.current_task()
                assert task is not None
                others = task.cancelling()
                self._waiting = task
                try:
                    message = await self._receive()
                except asyncio.CancelledError:
                    # As `asyncio.timeout` tells its own cancellation from those of others.
                    if not self._interrupted or task.uncancel() > others:
                        raise
                else:
                    if self._interrupted:
                        task.uncancel()
                finally:
                    self._waiting = None
            if message is None:
                message = await self._told_of_the_end()
            kind = message["type"]
            if kind == "websocket.receive":
                if (fault := self._fault_of(message)) == "":
                    break
                if fault is not None:
                    self.end(fault)
            elif kind == "websocket.disconnect":
                self._gone = True
                self._left = self._ended is None  # else it is our own word
                message.setdefault("code", NO_STATUS)  # which servers may leave out
                break
            elif kind == "websocket.connect":
                break
        self._touch()
        return message

    async def _told_of_the_end(self) -> Message:
        if self._told or self._ended is None:
            return await self._receive()
        self._told = True
        return {
            "type": "websocket.disconnect",
            "code": self._ended.code,
            "reason": self._ended.reason,
        }

    def _fault_of(self, message: Message) -> str | None:
        """Why the end comes; "" for a message that may pass, None for what is no message."""
        most = self._settings.SOCKET_MAX_MESSAGE
        if (size := size_of(message, most)) is None:
            return None
        if size > most:
            return "too_big"
        return "" if self._bucket.take(self._loop.time()) else "too_fast"

    async def send(self, message: Message) -> None:
        """ASGI's `send`. What comes after the end of a socket is thrown away.

        It is for the application to find the `websocket.disconnect`, and no error of its own.
        """
        if self._ended is not None or self._lost:
            return
        kind, closed = message["type"], self._gone
        if kind == "websocket.accept":
            self._is_open = True
        elif kind in ("websocket.close", "websocket.http.response.start"):
            self._gone = True
        try:
            sending = self._passed_on(message, kind)
            try:
                out = sending.send(None)
            except StopIteration:
                pass  # the server has taken it, and nothing had to wait
            else:
                await self._sent_in_time(sending, out)
        except (OSError, RuntimeError) as error:
            # The latter uvicorn raises for a moment after it has closed the socket by itself.
            # Else it is for an application that sends what it may not.
            may = self._is_open and not closed and kind in ("websocket.send", "websocket.close")
            if isinstance(error, TimeoutError) or not (may or isinstance(error, OSError)):
                raise
            self._lose()
        self._busy.go_on()
        if self._waiting is None:
            self._touch()
        else:
            self._set_deadline(self._settings.SOCKET_IDLE_TIMEOUT)

    async def _sent_in_time(self, sending: Coroutine[Any, Any, None], out: Any) -> None:
        try:
            async with asyncio.timeout(self._settings.SOCKET_SEND_TIMEOUT or None) as limit:
                await going_on(sending, out)
        except TimeoutError:
            if not limit.expired():
                raise
            self.end("slow")

    def _lose(self) -> None:
        """The client has left, and the application has its time to find that out."""
        if self._ended is None and not self._lost:
            self._lost = True
            self._deadline = None
            self._give_up_later()

    def _passed_on(self, message: Message, kind: str) -> Coroutine[Any, Any, None]:
        if kind == "websocket.close" or not self._wire.sends_wait:
            return self._waiting_itself(message, kind)
        sending = self._send(message)
        return sending if isinstance(sending, Coroutine) else waited_for(sending)

    async def _waiting_itself(self, message: Message, kind: str) -> None:
        if kind == "websocket.close":
            await self._wire.close(self._send, message)
        else:
            await self._send(message)
        if not self._wire.sends_wait:
            await self._wire.drained()

    # --- time -------------------------------------------------------------------------------

    def _touch(self) -> None:
        """The application does something, and has its time for the next thing."""
        self._set_deadline(self._settings.SOCKET_CONSUMER_TIMEOUT)

    def _set_deadline(self, in_s: float) -> None:
        if self._ended is not None or self._lost:
            return
        self._deadline = self._loop.time() + in_s if in_s else None

    def look(self, now: float) -> None:
        """End the socket if its time is up."""
        if self._busy.until is not None and self._busy.until <= now and not self._lost:
            self.end("stuck")
        elif self._deadline is not None and self._deadline <= now:
            self.end("stuck" if self._waiting is None else "idle")

    @property
    def shortest_s(self) -> float:
        """The shortest time that `look` watches over; infinite if it need not be called."""
        settings = self._settings
        times = (settings.SOCKET_CONSUMER_TIMEOUT, settings.SOCKET_IDLE_TIMEOUT)
        return min((time for time in times if time), default=math.inf)

    # --- the end ----------------------------------------------------------------------------

    def end(self, kind: str) -> None:
        """End the socket, for a reason of `ENDS`: close it, and let the application know."""
        if self._ended is not None or self.is_over:
            return
        end = self._ended = ENDS[kind]
        self._deadline = None
        self._give_up_later()
        if not (kind == "slow" and self._wire.abort()) and not self._gone:
            self._closing = self._loop.create_task(self._close(end))
        if self._waiting is not None and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()
        counts.note(kind, shown(self._scope))  # last: a log may fail

    async def _close(self, end: End) -> None:
        message: Message = {"type": "websocket.close", "code": end.code}
        if end.reason:
            message["reason"] = end.reason
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._wire.close(self._send, message)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the socket is gone
            logger.debug("A socket could not be closed: %r", exc)
            self._wire.abort()
        else:
            # Of the server's closing, in case that the client does not read this either.
            self._loop.call_later(self._settings.SOCKET_CLOSE_TIMEOUT, self._wire.abort)

    def _give_up_later(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        timeout_s = self._settings.SOCKET_CLOSE_TIMEOUT
        self._giving_up = self._loop.call_later(timeout_s, self._give_up)

    def _give_up(self) -> None:
        if self._application is not None and not self._application.done():
            counts.note("cancelled", shown(self._scope))
            self._gave_up = True
            self._application.cancel()
