"""`LoopConnection`: a psycopg connection that waits where its caller can wait.

Inside a bridge it waits on the event loop, as `psycopg.AsyncConnection` does; in a plain
thread it blocks, as ever. So one connection serves the loop, a bridge and a thread, never two
at once: `lock`, which psycopg takes around everything that it sends, is the `Turn` of the
wrapper that uses the connection.

It must never be waited on outside a bridge on the thread of a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
from collections.abc import Generator
from typing import Any, ClassVar, TypeVar

import psycopg
from django.core.exceptions import SynchronousOnlyOperation
from psycopg import errors, pq, waiting
from psycopg._capabilities import capabilities

from onloop import bridge
from onloop.db.backends.postgresql.blocking import in_thread
from onloop.db.backends.postgresql.opened import AsOpened
from onloop.db.ear import READ, WRITE, Ear, Wait, ear_of
from onloop.db.turn import Turn
from onloop.waiting import running_loop

logger = logging.getLogger("onloop.db")

T = TypeVar("T")

# Seconds that a cancelled query has to end: to send the request, and to drain the answer.
CANCEL_S = 5.0
DRAIN_S = 5.0
# Seconds that a statement which was not answered in time has to be cancelled at the server.
UNANSWERED_S = 0.5

_READY_NONE = int(waiting.Ready.NONE)
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE


class Unanswered(errors.OperationalError, TimeoutError):
    """The server said nothing for too long; what came of the statement is unknown."""


class LoopConnection(psycopg.Connection[Any]):
    """A connection for bridges and threads. `owner` is the wrapper that uses it now."""

    owner: Any = None
    lock: Any
    # Backends of this process, for who wants to drop a database. One whose connection was
    # closed in the middle of a statement stays here: it may go on for long.
    backends: ClassVar[set[int]] = set()
    # Statements have set something up when it was opened.
    configured = False
    # Seconds that the server has to answer a statement, whole; None: any time. The setting, and
    # what holds now: while the pool itself asks something it may be less.
    answer_timeout_s: float | None = None
    limit_s: float | None = None
    # `notifies` waits for something else than an answer.
    _listening = False
    opened_as: AsOpened | None = None
    # The wait that is under way on the loop, for `close`.
    _waiting: Wait | None = None
    # Hears the answers, on the loop of the last wait.
    _ear: Ear | None = None
    # Looks at the socket of an idle connection.
    _poll: select.poll | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A `threading.Lock`, as psycopg has it, would freeze the loop if two tasks met at it.
        self.lock = Turn(None)
        self.backends.add(self.pgconn.backend_pid)

    def wait(
        self,
        gen: Generator[Any, Any, T],
        interval: float = 0.1,
        timeout: float | None = None,
    ) -> T:
        """Consume a psycopg generator, waiting for the socket in the caller's way.

        Without `timeout` it ends after `limit_s`, and the connection with it.

        Raises `SynchronousOnlyOperation` on a loop's thread outside a bridge.
        """
        if self.limit_s is not None and timeout is None and not self._listening:
            return self._wait_for_answer(gen, interval, self.limit_s)
        here = bridge.current()
        if here is not None:
            try:
                return self._wait_on_loop(gen, timeout, here)
            except BaseException as exc:
                try:
                    if bridge.interrupts(exc):  # else the server or the generator says it
                        self._interrupted(gen, exc, here)
                finally:
                    _end(gen)
                raise
        if running_loop() is not None and not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
            raise SynchronousOnlyOperation(
                "A query would block the event loop here: this code runs outside a bridge. "
                "Use the `a` methods (`await queryset.aget()`), or run synchronous code with "
                "`await onloop.bridge.run(function, ...)`."
            )
        return super().wait(gen, interval, timeout)

    def _wait_for_answer(
        self, gen: Generator[Any, Any, T], interval: float, limit_s: float
    ) -> T:
        try:
            return self.wait(gen, interval, limit_s)
        except errors._WaitTimeout:
            pass
        try:
            if self.owner is not None:
                self.owner.statement_unanswered()
                # A server that is only slow would go on with it, and keep its locks.
                if bridge.active() or capabilities.has_cancel_safe():
                    self.cancel_safe(timeout=UNANSWERED_S)
        except errors.Error:
            pass  # it does not answer this either
        except asyncio.CancelledError as exc:
            shield = bridge.Shield.of_caller()
            if shield is None:
                if self.owner is not None:
                    self.owner.statement_cancelled(exc)
                raise
            shield.absorb(exc)  # the end of a block has to go on, and fails
        finally:
            self.pgconn.finish()
        raise Unanswered(
            f"the server did not answer within {limit_s:g} s: the connection is closed, what "
            "came of the statement is unknown"
        )

    def _wait_on_loop(
        self, gen: Generator[Any, Any, T], timeout: float | None, here: bridge.Bridge
    ) -> T:
        try:
            state = next(gen)
            loop = here.loop
            ear = self._ear
            if ear is None or ear.loop is not loop:
                ear = self._ear = ear_of(loop)
            fileno = self.pgconn.socket
            deadline = None if timeout is None else loop.time() + timeout
            shield = bridge.Shield.of_caller()
            shield_ends = None if shield is None else shield.deadline
            while True:
                wait = ear.listen(fileno, state)
                until = deadline
                if shield_ends is not None and (until is None or shield_ends < until):
                    until = shield_ends
                timer = None
                if until is not None:
                    timer = loop.call_at(until, wait.wake_now, _READY_NONE)
                ready = None
                self._waiting = wait
                try:
                    bridge.await_future(here, wait)
                    ready = wait.ready
                except asyncio.CancelledError as exc:
                    if shield is None or loop.is_closed():
                        raise
                    shield_ends = shield.absorb(exc)
                    # Who cancels again and again (anyio, at each pass of the loop) would be
                    # quicker than the socket every time.
                    ready = _ready_now(fileno, state)
                finally:
                    if timer is not None:
                        timer.cancel()
                    if self._waiting is not wait:
                        raise errors.OperationalError(
                            "the connection was closed while a statement was waiting"
                        )
                    self._waiting = None
                    if not ready:
                        ear.forget(fileno, wait)
                if ready is not None:
                    state = gen.send(ready)
                if shield_ends is not None and loop.time() >= shield_ends:
                    self._give_up()
                if deadline is not None and loop.time() >= deadline:
                    raise errors._WaitTimeout("wait timeout expired")
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        except OSError as exc:
            raise errors.OperationalError("connection socket closed") from exc

    def set_autocommit(self, value: bool) -> None:
        if self._pipeline is not None:
            super().set_autocommit(value)
            return
        # Each transaction does it twice. Without a pipeline nothing is sent, so that there is
        # nothing to wait for.
        with self.lock:
            next(self._set_autocommit_gen(value), None)

    def close(self) -> None:
        """Close at once; a task that waits for a statement on this connection gets an error."""
        wait, ear = self._waiting, self._ear
        if wait is not None and ear is not None:
            loop = ear.loop
            if running_loop() is not loop and loop.is_running():
                loop.call_soon_threadsafe(self.close)
                return
            # Before the descriptor is closed: its number may be another connection's next.
            self._waiting = None
            if not loop.is_closed():
                ear.forget(self.pgconn.socket, wait)
                wait.wake(_READY_NONE)
        self._ear = None
        if not self.closed and self.pgconn.transaction_status != _ACTIVE:
            self.backends.discard(self.pgconn.backend_pid)
        super().close()

    def _give_up(self) -> None:
        """The end of a shield: the statement's outcome stays unknown to us."""
        self.pgconn.finish()
        raise errors.OperationalError(
            "the server did not answer within the time that a cancelled task gives the end "
            "of its transaction: the connection is closed, the outcome unknown"
        )

    def _interrupted(
        self, gen: Generator[Any, Any, Any], exc: BaseException, here: bridge.Bridge
    ) -> None:
        """A wait was cancelled: stop the query at the server, or drop the connection."""
        if self.owner is not None:
            self.owner.statement_cancelled(exc)
        if self.pgconn.transaction_status != _ACTIVE:
            return
        if not isinstance(exc, asyncio.CancelledError):
            # The coroutine is closed, or the process ends: nothing can be waited for.
            self.pgconn.finish()
            return
        limit_s = self.answer_timeout_s or max(CANCEL_S, DRAIN_S)
        try:
            self._stop_statement(gen, limit_s, here)
        except errors.QueryCanceled:
            pass
        except errors.Error as error:
            logger.warning("A cancelled query did not end cleanly: %s", error)
        except BaseException:
            self.pgconn.finish()  # cancelled again: the state is unknown
            raise
        if not self.closed and self.pgconn.transaction_status == _ACTIVE:
            logger.warning("A cancelled query did not end: its connection is closed.")
            self.pgconn.finish()

    def _stop_statement(
        self, gen: Generator[Any, Any, Any], limit_s: float, here: bridge.Bridge
    ) -> None:
        ends = None
        again_s = 0.25
        while True:
            self.cancel_safe(timeout=min(CANCEL_S, limit_s))
            now = here.loop.time()
            ends = ends or now + min(DRAIN_S, limit_s)
            try:
                self._wait_on_loop(gen, min(again_s, ends - now), here)
                return
            except errors._WaitTimeout:
                # The server forgets a cancel that comes before its statement.
                if here.loop.time() >= ends:
                    raise
                again_s *= 2

    def notifies(self, **kwargs: Any) -> Generator[psycopg.Notify]:
        if self.owner is not None:
            self.owner.use_session()  # LISTEN was of use
        return self._listen(super().notifies(**kwargs))

    def _listen(self, notifies: Generator[psycopg.Notify]) -> Generator[psycopg.Notify]:
        with contextlib.closing(notifies):
            while True:
                self._listening = True
                try:
                    notify = next(notifies, None)
                finally:
                    self._listening = False
                if notify is None:
                    return
                yield notify

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel what runs, waiting for its answer in the caller's way.

        psycopg itself calls this when COPY or `stream()` is left early. Raises
        `psycopg.errors.CancellationTimeout` after `timeout` seconds.
        """
        if not bridge.active():
            super().cancel_safe(timeout=timeout)
        elif self._should_cancel():
            bridge.await_(self._acancel(timeout))

    async def _acancel(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                if not capabilities.has_cancel_safe():
                    await in_thread(self.cancel)
                    return
                steps: Any = self._cancel_gen()
                try:
                    await waiting.wait_conn_async(steps, interval=0.1)
                finally:
                    steps.close()  # and the socket that the request is sent over
        except TimeoutError:
            raise errors.CancellationTimeout("cancellation timeout expired") from None

    def remember(self) -> None:
        """Note how the connection was opened; once, when all is set up."""
        if self.opened_as is None:
            self.opened_as = AsOpened.of(self)

    @property
    def is_clean(self) -> bool:
        """Whether another scope can use this connection."""
        return (
            self.pgconn.transaction_status == _IDLE  # that of a closed one is UNKNOWN
            and self._pipeline is None
            and self._tpc is None
        )

    @property
    def is_alive(self) -> bool:
        """Whether an idle connection looks alive: its server has neither closed it nor spoken.

        A byte on an idle connection is most often the goodbye of a server that restarts.
        """
        if self.closed:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.pgconn.socket, select.POLLIN)
        if not self._poll.poll(0):
            return True
        try:
            self.pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        closed: bool = self.closed  # `consume_input` finds it out
        return not closed and not self._poll.poll(0)


def _ready_now(fileno: int, state: int) -> int | None:
    poll = select.poll()
    wanted = (select.POLLIN if state & READ else 0) | (select.POLLOUT if state & WRITE else 0)
    poll.register(fileno, wanted)
    for _, event in poll.poll(0):
        if event & (select.POLLIN | select.POLLHUP | select.POLLERR) and state & READ:
            return READ
        if event & select.POLLOUT:
            return WRITE
    return None


def _end(gen: Generator[Any, Any, Any]) -> None:
    """End a generator that nobody goes on with, and now.

    At the end of a pipeline psycopg's has steps to take after that. They are of no use, and
    would be tried when it is collected, with the connection closed or somebody else's.
    """
    with contextlib.suppress(errors.Error, RuntimeError):  # the second where it waits again
        gen.close()
