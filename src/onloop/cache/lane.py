"""One connection to Redis, on which commands of many tasks travel one behind the other.

Redis answers in the order in which it was asked. So a lane keeps a queue of who waits, and each
answer belongs to the one at its head, whether that one still wants it or not: a task that is
cancelled leaves its place, and the answer that comes for it is read and dropped. No task ever
reads or writes the socket itself, so none can leave an answer behind for the next one.

redis-py opens the connection (TLS, passwords, databases, unix sockets), packs commands and
parses answers. Its pool, in which a connection belongs to one command, is not used.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

# Bytes that wait to be sent, from which on callers wait until the server has taken some.
HIGH_WATER = 2**20
# Seconds that an answer may be late because the loop was held, not the server.
GRACE_S = 0.05

Command = tuple[Any, ...]


class Call:
    """Who waits for the answers to commands that were sent together."""

    __slots__ = ("deadline", "future", "left", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], left: int, deadline: float) -> None:
        self.future = future
        self.left = left
        self.deadline = deadline
        self.replies: list[Any] = []

    def take(self, reply: Any) -> bool:
        """Take an answer; return whether it was the last."""
        self.replies.append(reply)
        self.left -= 1
        if self.left:
            return False
        if not self.future.done():
            self.future.set_result(self.replies)
        return True

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # nobody may be there any more to look at it


class Lane:
    """A connection that is open. `timeout_s`: seconds in which an answer has to come."""

    def __init__(self, connection: AbstractConnection, timeout_s: float, place: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        reader, writer = connection._reader, connection._writer
        assert reader is not None
        assert writer is not None
        self._reader: asyncio.StreamReader = reader
        self._writer: asyncio.StreamWriter = writer
        self._timeout_s = timeout_s
        self._place = place
        self._waiting: deque[Call] = deque()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._broken = False

    @property
    def load(self) -> int:
        """How many answers are awaited."""
        return len(self._waiting)

    @property
    def fileno(self) -> int:
        found = self._writer.get_extra_info("socket")
        return -1 if found is None else found.fileno()

    def is_usable(self) -> bool:
        """Whether it can be asked. One that the server has closed meanwhile is closed here."""
        if not self._broken and (
            self._reader.at_eof()
            or self._writer.is_closing()
            # Nobody waits, so whatever came is the answer to nothing: trust none that follow.
            or (not self._waiting and getattr(self._reader, "_buffer", None))
        ):
            self.close("the connection was closed by the server")
        return not self._broken

    # --- asking -----------------------------------------------------------------------------

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one piece; return their answers, of which some may be errors.

        Raises redis' own `ConnectionError` or `TimeoutError` if they do not come. Whoever is
        cancelled here disturbs nobody else.
        """
        while self._unsent_bytes + self._writer.transport.get_write_buffer_size() > HIGH_WATER:
            self._send()
            await self._drain()
        return await self.begin(commands)

    def begin(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """As `ask`, without waiting: the future of the answers."""
        if self._broken:
            raise RedisConnectionError(f"The connection to {self._place} is closed.")
        if len(commands) == 1:
            packed = self._connection.pack_command(*commands[0])
        else:
            packed = self._connection.pack_commands(commands)
        call = Call(
            self._loop.create_future(), len(commands), self._loop.time() + self._timeout_s
        )
        idle = not self._waiting
        self._waiting.append(call)
        if idle:
            self._writer.write(packed[0] if len(packed) == 1 else b"".join(packed))
        else:  # what else is asked in this turn of the loop goes with it
            if not self._unsent:
                self._loop.call_soon(self._send, context=contextvars.Context())
            self._unsent += packed
            self._unsent_bytes += sum(map(len, packed))
        if self._reading is None:
            self._reading = background(self._loop, self._read(), f"read from {self._place}")
        if self._timer is None:
            self._timer = self._loop.call_at(call.deadline, self._look)
        return call.future

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._unsent_bytes = 0
        if unsent and not self._broken:
            self._writer.write(b"".join(unsent))

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as exc:
            raise RedisConnectionError(f"Error while writing to {self._place}: {exc}") from exc

    # --- answers ----------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read answers for as long as somebody waits, in a task that belongs to nobody."""
        waiting = self._waiting
        reply: Any
        try:
            while waiting:
                try:
                    reply = await self._connection.read_response()
                except ResponseError as exc:
                    reply = exc
                if waiting and waiting[0].take(reply):
                    waiting.popleft()
        except asyncio.CancelledError:
            self.close("its event loop ends")
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, nothing more can be read
            self.close(str(exc))
        finally:
            self._reading = None

    def _look(self) -> None:
        """See to it that the oldest call does not wait too long; a timer of the loop."""
        self._timer = None
        if not self._waiting:
            return
        oldest = self._waiting[0]
        if self._loop.time() < oldest.deadline:
            self._timer = self._loop.call_at(oldest.deadline, self._look)
        else:  # the loop may have been held: what has come is read first
            self._timer = self._loop.call_later(GRACE_S, self._give_up, oldest)

    def _give_up(self, oldest: Call) -> None:
        self._timer = None
        if self._waiting and self._waiting[0] is oldest:
            self.close(f"no answer within {self._timeout_s:g} s", RedisTimeoutError)
        else:
            self._look()

    # --- end --------------------------------------------------------------------------------

    def close(self, why: str, kind: type[RedisError] = RedisConnectionError) -> None:
        """Close the connection; whoever waits gets an error of this kind."""
        if self._broken:
            return
        self._broken = True
        if self._timer is not None:
            self._timer.cancel()
        abort(self._connection)
        waiting = list(self._waiting)
        self._waiting.clear()
        self._unsent = []
        self._unsent_bytes = 0
        if self._loop.is_closed():
            return  # and with it whoever waits
        for call in waiting:
            call.fail(kind(f"Error while reading from {self._place}: {why}"))


async def open_lane(
    make: Callable[[], AbstractConnection], connect_s: float, answer_s: float, place: str
) -> Lane:
    """Open a connection that `make` has made, within `connect_s` seconds.

    Raises redis' own errors: `ConnectionError`, `TimeoutError`, `AuthenticationError`.
    """
    connection = make()
    try:
        async with asyncio.timeout(connect_s):
            await connection.connect()  # type: ignore[no-untyped-call]
        return Lane(connection, answer_s, place)
    except TimeoutError as exc:
        abort(connection)
        raise RedisTimeoutError(
            f"Timeout connecting to {place}: not within {connect_s:g} s"
        ) from exc
    except BaseException:
        abort(connection)
        raise


def abort(connection: AbstractConnection) -> None:
    """Close a connection at once, also one whose server does not take what is to be sent."""
    writer, connection._reader, connection._writer = connection._writer, None, None
    if writer is not None:
        try:
            writer.transport.abort()
        except RuntimeError:
            pass  # the loop is closed; the collector closes the socket


def background(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], what: str
) -> asyncio.Task[Any]:
    """Start a task of nobody: not through the loop's factory, which would bridge it."""
    return asyncio.Task(coro, loop=loop, name=f"onloop: {what}", context=contextvars.Context())
