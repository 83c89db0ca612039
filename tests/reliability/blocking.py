"""What is called on a loop's thread that may block: files, names, processes, sleep, psycopg.

An audit hook sees Python's own calls; what libpq waits for goes through psycopg's `waiting`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

import psycopg.waiting

EVENTS = frozenset({
    "open", "os.listdir", "os.scandir", "os.system", "os.posix_spawn", "fcntl.flock",
    "shutil.copyfile", "socket.getaddrinfo", "socket.gethostbyname", "sqlite3.connect",
    "subprocess.Popen", "time.sleep", "socket.connect",
})  # fmt: skip


class BlockingCalls:
    """`watch()` on the loop's thread; then `seen` counts what was called there."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._thread = 0

    def watch(self) -> None:
        """Begin; there is no end, as an audit hook has none."""
        self._thread = threading.get_ident()
        sys.addaudithook(self._audit)
        for name in ("wait", "wait_conn"):
            self._wrap(psycopg.waiting, name)
        if sys.version_info < (3, 13):  # which has an event for it
            self._wrap(time, "sleep")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and threading.get_ident() == self._thread:
            if event == "socket.connect" and arguments[0].gettimeout() == 0:
                return
            # Kept as text: an object that an event is about must not be kept alive.
            what = "" if isinstance(arguments[0], socket.socket) else f" {arguments[0]!r}"
            self.seen[f"{event}{what[:100]}"] += 1

    def _wrap(self, module: Any, name: str) -> None:
        function = getattr(module, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._thread and asyncio._get_running_loop():
                self.seen[f"{module.__name__}.{name}"] += 1
            return function(*args, **kwargs)

        setattr(module, name, wait)
