"""Wakes Celery's own event loop up, which waits for the broker in the main thread.

Acknowledgements are sent there, and without this up to a second later. Kombu 5.6 and later do
it by themselves.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any


class Waker:
    """A pair of sockets, one of which Celery's loop reads."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._needed = False

    def register(self, hub: Any) -> None:
        """Called by Celery whenever its loop begins, after a lost connection too."""
        self._needed = not hasattr(hub, "_create_waker")
        if self._needed:
            hub.add_reader(self._read, self._drain)

    def wake(self) -> None:
        """From any thread; harmless when there is no loop."""
        if self._needed:
            with contextlib.suppress(OSError):  # full: it is about to wake up; or closed
                self._write.send(b"\0")

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        self._needed = False
        self._read.close()
        self._write.close()
