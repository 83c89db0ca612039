"""What Django's `runserver` takes for a WSGI server, and is an ASGI server in a thread.

Django makes it with an address, tells the port, gives it the application and calls
`serve_forever`; so its own code goes on to say what is wrong with an address and to do the
checks.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any, ClassVar

from django.core.management.base import CommandError

from onloop.devserver.application import Application
from onloop.devserver.servers import Server

# Seconds that a server has to end: requests, then what the project does at shutdown.
END_TIMEOUT_S = 5


class ServerEnded(CommandError):
    """The server has ended by itself, as it does when the start-up of the project fails."""


class Listener:
    """A bound socket and the server on it.

    `kind`: which server. `opened`: the listeners that there are, for who has to end them.
    """

    kind: ClassVar[type[Server]]
    opened: ClassVar[list[Listener]]

    def __init__(self, address: tuple[str, int], handler: Any, ipv6: bool = False) -> None:
        """Bind `address`. Raises `OSError`, of which Django's command makes a message."""
        self._socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            # Who comes before the server is up, as after a reload, waits.
            self._socket.listen(128)
        except BaseException:
            self._socket.close()
            raise
        self.server_port: int = self._socket.getsockname()[1]
        self._stopping = False
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def set_app(self, application: Application) -> None:
        self._server = self.kind(application)

    def serve_forever(self) -> None:
        """Serve until `stop` is called elsewhere, or an exception comes, as by Ctrl-C.

        Raises `ServerEnded`.
        """
        self.opened.append(self)
        # Not in the main thread, which has to be able to leave a server that does not end.
        threading.Thread(target=self._run, name="onloop-server", daemon=True).start()
        self._ended.wait()
        if not self._stopping:
            reason = f": {self._error}" if isinstance(self._error, Exception) else ""
            raise ServerEnded(f"{self.kind.package} has ended by itself{reason}.")

    def _run(self) -> None:
        try:
            self._server.run(self._socket)
        except BaseException as exc:  # noqa: BLE001 - a server may leave by SystemExit
            self._error = exc
            if isinstance(exc, Exception):
                sys.excepthook(type(exc), exc, exc.__traceback__)
        finally:
            self._ended.set()

    def stop(self) -> bool:
        """End the server. Returns whether it has ended in time."""
        self._stopping = True
        self._server.stop()
        return self._ended.wait(END_TIMEOUT_S)
