"""The ASGI servers that can run inside of `runserver`, on a socket that is bound already.

Each runs in a thread, so none may install signal handlers, and each is ended from another
thread. What they log below a warning is left out: `requestlog` has the requests, the command
the rest.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import threading
import time
from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import Any, ClassVar

from onloop.devserver.application import Application

# Seconds that requests under way have when the server ends; then they are cancelled.
GRACE_S = 1
# Seconds between two looks at what others do not tell of.
POLL_S = 0.1


class Server(ABC):
    """A server for one application. `package`: the one that has to be installed."""

    package: ClassVar[str]

    def __init__(self, application: Application) -> None:
        self.application = application

    @classmethod
    def label(cls) -> str:
        """Return its name and version."""
        return f"{cls.package} {version(cls.package)}"

    @abstractmethod
    def run(self, listening: socket.socket) -> None:
        """Serve until it is stopped. Takes the socket over."""

    @abstractmethod
    def stop(self) -> None:
        """End it, also before it runs. Called from another thread; returns at once."""


class Uvicorn(Server):
    package = "uvicorn"

    def __init__(self, application: Application) -> None:
        super().__init__(application)
        import uvicorn  # noqa: PLC0415 - may be not installed

        # As of Django's own server: no headers of a proxy are believed.
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                interface="asgi3",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def run(self, listening: socket.socket) -> None:
        asyncio.run(self._server.serve(sockets=[listening]))

    def stop(self) -> None:
        self._server.should_exit = True


class Daphne(Server):
    """Knows no lifespan."""

    package = "daphne"

    def __init__(self, application: Application) -> None:
        super().__init__(application)
        from daphne.server import (  # type: ignore[import-untyped]  # noqa: PLC0415
            Server as DaphneServer,
        )
        from twisted.internet import reactor  # noqa: PLC0415 - daphne.server has chosen it

        self._reactor: Any = reactor  # its types are those of zope.interface
        # Its own description of a socket's file descriptor is for IPv4 only, but without any
        # it makes no server.
        self._server = DaphneServer(application, endpoints=["-"], signal_handlers=False)

    def run(self, listening: socket.socket) -> None:
        self._server.endpoints = []
        self._reactor.callWhenRunning(self._adopt, listening)
        self._server.run()

    def _adopt(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        self._port = self._reactor.adoptStreamPort(
            listening.fileno(), listening.family, self._server.http_factory
        )
        listening.close()  # the reactor has one of its own

    def stop(self) -> None:
        self._reactor.callFromThread(self._finish)

    def _finish(self) -> None:
        self._port.stopListening()
        self._wait(time.monotonic() + GRACE_S)

    def _wait(self, until: float) -> None:
        """Its own `stop` cancels requests at once: call it when they had their time."""
        tasks = [each.get("application_instance") for each in self._server.connections.values()]
        busy = any(task is not None and not task.done() for task in tasks)
        if busy and time.monotonic() < until:
            self._reactor.callLater(POLL_S, self._wait, until)
        else:
            self._reactor.callLater(POLL_S, self._server.stop)  # the last answer goes out


class Hypercorn(Server):
    package = "hypercorn"

    def __init__(self, application: Application) -> None:
        super().__init__(application)
        self._stopped = threading.Event()

    def run(self, listening: socket.socket) -> None:
        asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        from hypercorn.asyncio import serve  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        config = Config()
        config.bind = [f"fd://{listening.detach()}"]
        config.loglevel = "WARNING"
        config.graceful_timeout = GRACE_S
        serving = asyncio.create_task(
            serve(self.application, config, shutdown_trigger=self._wait, mode="asgi")
        )
        stopped = asyncio.create_task(self._wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({serving}, timeout=2 * GRACE_S)
        # Python's `Server.wait_closed` waits for clients without end, from 3.12 on, and so does
        # this server, whatever its time-out is. `asyncio.run` then cancels what is left.
        if serving.done():
            serving.result()

    async def _wait(self) -> None:
        while not self._stopped.is_set():  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(POLL_S)

    def stop(self) -> None:
        self._stopped.set()


SERVERS: tuple[type[Server], ...] = (Uvicorn, Daphne, Hypercorn)


def find() -> type[Server] | None:
    """Return the first of the servers that is installed, or None."""
    for server in SERVERS:
        try:
            importlib.import_module(server.package)
        except ModuleNotFoundError as exc:
            if exc.name != server.package:
                raise  # it is installed, and something that it needs is not
        else:
            return server
    return None
