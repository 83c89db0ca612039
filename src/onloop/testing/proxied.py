"""One connection through the fault proxy.

Everything here runs in the proxy's thread; its faults may be asked for from any other, and are
in force when they return.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec

from onloop.testing.protocol import Conversation, Direction, MessageCounter
from onloop.waiting import running_loop

P = ParamSpec("P")

Action = Literal["cut", "reset", "half_open", "black_hole"]
Which = Literal["up", "down", "both"]

# Seconds that the proxy's thread has to do what it is asked for.
ANSWER_S = 10.0
_PIECE = 64 * 1024
# Closing sends RST in place of FIN.
_LINGER_0 = struct.pack("ii", 1, 0)


@dataclass
class Trigger:
    """Something that is done once, to the first connection that has forwarded so much."""

    action: Action
    direction: Direction
    messages: int | None
    size: int | None
    # What it was done to; known before the client can see any of it.
    connection: ProxiedConnection | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    @property
    def fired(self) -> bool:
        return self.connection is not None

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Wait, in a thread, until it has been done; False if that took too long."""
        return self._done.wait(timeout_s)

    def fire(self, connection: ProxiedConnection) -> None:
        self.connection = connection
        connection.do(self.action)
        self._done.set()


@dataclass(frozen=True)
class _Armed:
    """A trigger, and the counts of this connection at which it fires."""

    trigger: Trigger
    at_message: int | None
    at_byte: int | None


def directions(which: Which) -> tuple[Direction, ...]:
    return ("up", "down") if which == "both" else (which,)


def _in_the_proxys_thread(
    fault: Callable[Concatenate[ProxiedConnection, P], None],
) -> Callable[Concatenate[ProxiedConnection, P], None]:
    @functools.wraps(fault)
    def call(self: ProxiedConnection, /, *args: P.args, **kwargs: P.kwargs) -> None:
        loop: Any = self._loop
        if running_loop() is loop:
            fault(self, *args, **kwargs)
        elif not loop.is_closed():  # else the connection is closed too

            async def doing() -> None:
                fault(self, *args, **kwargs)

            asyncio.run_coroutine_threadsafe(doing(), loop).result(ANSWER_S)

    return call


class ProxiedConnection:
    """A client's connection and its twin to the server, with a pump for each direction.

    `sent` and `messages` count what has been forwarded "up" to the server and "down" to the
    client.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        server: socket.socket,
        on_end: Callable[[ProxiedConnection], None],
    ) -> None:
        self.sent: dict[Direction, int] = {"up": 0, "down": 0}
        self.delay_s: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        self.closed = False
        self.server_dropped = False
        self._loop = loop
        self._client = client
        self._server = server
        self._on_end = on_end
        self._armed: list[_Armed] = []
        self._gates: dict[Direction, asyncio.Event] = {}
        self._counters: dict[Direction, MessageCounter] = {}
        self._pumps: dict[Direction, asyncio.Task[None]] = {}
        conversation = Conversation()
        directions: tuple[Direction, Direction] = ("up", "down")
        for direction in directions:
            self._gates[direction] = asyncio.Event()
            self._gates[direction].set()
            self._counters[direction] = MessageCounter(conversation, direction)

    @property
    def messages(self) -> dict[Direction, int]:
        return {direction: counter.count for direction, counter in self._counters.items()}

    def descriptors(self) -> set[int]:
        return {end.fileno() for end in (self._client, self._server)} - {-1}

    def start(self) -> None:
        self._pumps["up"] = self._loop.create_task(self._pump("up"))
        self._pumps["down"] = self._loop.create_task(self._pump("down"))

    # --- faults -----------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        getattr(self, action)()

    @_in_the_proxys_thread
    def delay(self, ms: float, which: Which = "both") -> None:
        for direction in directions(which):
            self.delay_s[direction] = ms / 1000

    @_in_the_proxys_thread
    def black_hole(self, which: Which = "both") -> None:
        """Forward nothing more this way. What comes is kept, as TCP would send it again."""
        for direction in directions(which):
            self._gates[direction].clear()

    @_in_the_proxys_thread
    def forward(self) -> None:
        self.delay_s.update({"up": 0.0, "down": 0.0})
        self._armed.clear()
        for gate in self._gates.values():
            gate.set()

    @_in_the_proxys_thread
    def cut(self) -> None:
        if self.closed:
            return
        self.closed = True
        for pump in self._pumps.values():
            pump.cancel()
        self._close(self._client)
        self._close(self._server)
        self._on_end(self)

    @_in_the_proxys_thread
    def reset(self) -> None:
        for end in (self._client, self._server):
            if end.fileno() != -1 and end.family != socket.AF_UNIX:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self.cut()

    @_in_the_proxys_thread
    def half_open(self) -> None:
        """Drop the server's side. The client is told nothing, and what it says goes nowhere."""
        if self.closed or self.server_dropped:
            return
        self.server_dropped = True
        self._pumps["down"].cancel()
        self._close(self._server)

    def arm(self, trigger: Trigger) -> None:
        direction = trigger.direction
        self._armed.append(
            _Armed(
                trigger,
                None
                if trigger.messages is None
                else self._counters[direction].count + trigger.messages,
                None if trigger.size is None else self.sent[direction] + trigger.size,
            )
        )

    def _close(self, end: socket.socket) -> None:
        number = end.fileno()
        if number != -1:
            # Before the number can be another's: cancelled pumps take no notice of it then.
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
            end.close()

    # --- pumps ------------------------------------------------------------------------------

    async def _pump(self, direction: Direction) -> None:
        source = self._client if direction == "up" else self._server
        try:
            while data := await self._loop.sock_recv(source, _PIECE):
                await self._pass(direction, data)
        except OSError:
            pass  # reset by one end: the other one is told below
        await self._gates[direction].wait()
        self.cut()

    async def _pass(self, direction: Direction, data: bytes) -> None:
        sink = self._server if direction == "up" else self._client
        while data:
            if self.delay_s[direction]:
                await asyncio.sleep(self.delay_s[direction])
            await self._gates[direction].wait()
            if self.server_dropped and direction == "up":
                return
            piece, armed = self._until_trigger(direction, data)
            # Counted first, so that whoever has seen the piece finds it counted.
            self.sent[direction] += len(piece)
            await self._loop.sock_sendall(sink, piece)
            data = data[len(piece) :]
            if armed in self._armed:  # else `forward` has disarmed it meanwhile
                self._armed.remove(armed)
                if not armed.trigger.fired:
                    armed.trigger.fire(self)
                    await asyncio.sleep(0)  # a pump that has been cancelled ends here

    def _until_trigger(self, direction: Direction, data: bytes) -> tuple[bytes, _Armed | None]:
        """Return the part of `data` that goes before the next trigger, and that trigger."""
        counter = self._counters[direction]
        end = len(data)
        first: _Armed | None = None
        mine = [armed for armed in self._armed if armed.trigger.direction == direction]
        for armed in mine:
            if armed.at_byte is not None and armed.at_byte - self.sent[direction] <= end:
                end = max(armed.at_byte - self.sent[direction], 0)
                first = armed
        stops = [armed for armed in mine if armed.at_message is not None]
        stop = min(stops, key=lambda armed: armed.at_message or 0, default=None)
        before = counter.count
        looked_at = counter.feed(data[:end], None if stop is None else stop.at_message)
        if stop is not None and counter.count > before and counter.count == stop.at_message:
            return data[:looked_at], stop
        return data[:end], first
