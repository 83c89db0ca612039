"""A TCP proxy in front of PostgreSQL that can be told to fail.

It runs in a thread of its own with a loop of its own, so that it works while the loop under
test is held. What a method asks for is in force when it returns. To put a proxy into a test
suite of a driver is psycopg's idea (`tests/fix_proxy.py`); this one chooses the byte or
message at which something happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from onloop.testing.protocol import Direction
from onloop.testing.proxied import (
    ANSWER_S,
    Action,
    ProxiedConnection,
    Trigger,
    Which,
    directions,
)

HOST = "127.0.0.1"
_running: weakref.WeakSet[FaultProxy] = weakref.WeakSet()
# Aliases of Django that go through a proxy now, and the place that they went to before.
_redirected: dict[str, dict[str, Any]] = {}


@dataclass
class Counters:
    """What has happened since the start."""

    accepted: int = 0
    refused_upstream: int = 0


class FaultProxy:
    """Forwards `127.0.0.1:port` to a server, until it is told not to.

    `host`: of the server; a directory, as libpq has it, means the unix socket in it. Use it
    as `with FaultProxy(host, port) as proxy`, and connect to `proxy.host`, `proxy.port`.
    """

    host = HOST

    def __init__(self, host: str, port: int | str = 5432) -> None:
        self._server: tuple[int, Any]
        if host.startswith("/"):
            self._server = (socket.AF_UNIX, f"{host}/.s.PGSQL.{port}")
        else:
            # Here, where blocking does no harm, and not in the proxy's loop.
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = (found[0], found[4])
        self.port = 0
        self.counters = Counters()
        self.connections: list[ProxiedConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._acceptor: asyncio.Task[None] | None = None
        self._openings: set[asyncio.Task[None]] = set()
        self._triggers: list[Trigger] = []
        self._held_up: set[Direction] = set()
        self._delay_s: dict[Direction, float] = {"up": 0.0, "down": 0.0}

    # --- life -------------------------------------------------------------------------------

    def start(self) -> FaultProxy:
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="onloop-fault-proxy", daemon=True
        )
        self._thread.start()
        _running.add(self)
        self._do(self._listen)
        return self

    def stop(self) -> None:
        """Close everything and end the thread. Harmless when it is stopped already."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ask(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join(ANSWER_S)
        self._loop.close()
        _running.discard(self)

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- faults, of all connections and those to come ---------------------------------------

    def forward(self) -> None:
        """Go back to normal: listen, and forward what was held up."""
        self._do(self._forward)

    def delay(self, ms: float, which: Which = "both") -> None:
        """Forward every piece of data `ms` milliseconds late."""
        self._do(lambda: self._set_delay(ms / 1000, which))

    def black_hole(self, which: Which = "both") -> None:
        """Forward nothing more; connections stay, new ones are accepted. `forward` ends it."""
        self._do(lambda: self._set_black_hole(which))

    def cut(self) -> None:
        """Close all connections, on both sides."""
        self._do(lambda: self._each(ProxiedConnection.cut))

    def reset(self) -> None:
        """Reset all connections: the client's next read or write fails with ECONNRESET."""
        self._do(lambda: self._each(ProxiedConnection.reset))

    def half_open(self) -> None:
        """Drop the server's side of all connections and tell the clients nothing."""
        self._do(lambda: self._each(ProxiedConnection.half_open))

    def refuse(self) -> None:
        """Stop listening: who connects is refused. Connections stay; `forward` ends it."""
        self._do(self._stop_listening)

    def when(
        self,
        action: Action,
        *,
        direction: Direction = "down",
        messages: int | None = None,
        size: int | None = None,
    ) -> Trigger:
        """Do `action` once, to the first connection that has forwarded so much from now on.

        `messages` of PostgreSQL's protocol, or `size` bytes, in one direction: "up" to the
        server, "down" to the client. They are forwarded to the last byte; what follows is not.
        `action`: "cut", "reset", "half_open" or "black_hole".
        """
        if (messages is None) == (size is None):
            raise ValueError("FaultProxy.when: give `messages` or `size`")
        trigger = Trigger(action, direction, messages, size)
        self._do(lambda: self._arm(trigger))
        return trigger

    # --- where a client is sent -------------------------------------------------------------

    def parameters(self, **others: Any) -> dict[str, Any]:
        """Return `others` with the proxy's place, for `psycopg.connect`."""
        return {**others, "host": self.host, "port": self.port}

    @contextlib.contextmanager
    def in_front_of(self, alias: str = "default") -> Iterator[FaultProxy]:
        """Send the connections of Django's `alias` through the proxy, for a `with` block.

        Its pools are closed before and after, so that each block begins with new connections.
        """
        from django.db import connections  # noqa: PLC0415 - the proxy itself needs no Django

        from onloop.db import pools  # noqa: PLC0415

        settings = connections.settings[alias]
        before = {name: settings[name] for name in ("HOST", "PORT")}
        settings.update(HOST=self.host, PORT=str(self.port))
        _redirected[alias] = before
        pools.close_pools(alias=alias)
        try:
            yield self
        finally:
            settings.update(_redirected.pop(alias))
            pools.close_pools(alias=alias)

    @staticmethod
    def original_place(alias: str) -> dict[str, Any]:
        """Return HOST and PORT of an alias that goes through a proxy, else nothing."""
        return _redirected.get(alias, {})

    @staticmethod
    def loops() -> set[asyncio.AbstractEventLoop]:
        """Return the event loops of all proxies that run in this process."""
        return {proxy._loop for proxy in list(_running)}

    @staticmethod
    def descriptors() -> set[int]:
        """Return the file descriptors of all proxies that run in this process."""
        found: set[int] = set()
        for proxy in list(_running):
            if proxy._listener is not None:
                found.add(proxy._listener.fileno())
            for connection in list(proxy.connections):
                found |= connection.descriptors()
        return found

    # --- in the proxy's thread --------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = self._loop.create_task(self._accept(listener))

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            assert self._acceptor is not None
            self._acceptor.cancel()
            self._loop.remove_reader(listener.fileno())
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.counters.accepted += 1
            opening = self._loop.create_task(self._open(client))
            self._openings.add(opening)
            opening.add_done_callback(self._openings.discard)

    async def _open(self, client: socket.socket) -> None:
        client.setblocking(False)
        family, address = self._server
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        try:
            await self._loop.sock_connect(server, address)
        except BaseException as exc:
            if isinstance(exc, OSError):
                self.counters.refused_upstream += 1  # before the client can know of it
            server.close()
            client.close()
            if not isinstance(exc, OSError):
                raise
            return
        for end in (client, server):
            if end.family != socket.AF_UNIX:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ProxiedConnection(self._loop, client, server, self.connections.remove)
        connection.delay_s.update(self._delay_s)
        for trigger in self._triggers:
            connection.arm(trigger)
        for direction in self._held_up:
            connection.black_hole(direction)
        self.connections.append(connection)
        connection.start()

    def _arm(self, trigger: Trigger) -> None:
        self._triggers = [armed for armed in self._triggers if not armed.fired]
        self._triggers.append(trigger)
        self._each(lambda connection: connection.arm(trigger))

    def _forward(self) -> None:
        self._held_up.clear()
        self._delay_s.update({"up": 0.0, "down": 0.0})
        self._triggers.clear()
        self._each(ProxiedConnection.forward)
        self._listen()

    def _set_delay(self, delay_s: float, which: Which) -> None:
        for direction in directions(which):
            self._delay_s[direction] = delay_s
            for connection in self.connections:
                connection.delay_s[direction] = delay_s

    def _set_black_hole(self, which: Which) -> None:
        self._held_up.update(directions(which))
        self._each(lambda connection: connection.black_hole(which))

    def _each(self, fault: Callable[[ProxiedConnection], object]) -> None:
        for connection in list(self.connections):
            fault(connection)

    async def _shut_down(self) -> None:
        self._stop_listening()
        self._each(ProxiedConnection.cut)
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- from the caller's thread into the proxy's ------------------------------------------

    def _do(self, change: Callable[[], object]) -> None:
        async def doing() -> None:
            change()

        self._ask(doing())

    def _ask(self, coro: Coroutine[Any, Any, None]) -> None:
        if not self._loop.is_running() and self._thread is None and self._loop.is_closed():
            coro.close()
            raise RuntimeError("The proxy has been stopped.")
        asyncio.run_coroutine_threadsafe(coro, self._loop).result(ANSWER_S)
