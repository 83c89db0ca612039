"""A reading before and one after, and the name of everything that was left behind.

The rule at the end of every run: connections back in their pools, no session idle in a
transaction as PostgreSQL sees it, tasks, threads, file descriptors and temporary files as they
were. What takes a moment to go is waited for, within a bound.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from onloop.testing import sessions
from onloop.testing.proxy import FaultProxy
from onloop.testing.readings import Leak, Reading, idle_caches, temporary_folder

POLL_S = 0.02


class Leaked(AssertionError):
    """Something was left behind; `leaks` lists it."""

    def __init__(self, leaks: Sequence[Leak], waited_s: float) -> None:
        self.leaks = tuple(leaks)
        lines = "\n".join(f"- {leak}" for leak in leaks)
        super().__init__(f"Left behind (after {waited_s:g} s of waiting):\n{lines}")


class LeakLedger:
    """Compares what is held now with what was held when `start` was called.

    `timeout_s`: how long `verify` waits for things to go. `temp_prefixes`: names of entries of
    `temp_folder` (default: `tempfile.gettempdir()`) that count. `databases`: aliases whose
    server is asked; None for all that are PostgreSQL's. `application_name`: whose sessions
    count, as pg_stat_activity shows it; None for the name that Django connects with.

    Use it as `with` or `async with`, or call `start` and `verify` (`averify` on a loop, which
    lets the loop go on meanwhile). A block that raises is not examined: its own error matters.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 5.0,
        temp_prefixes: Sequence[str] = ("tmp", "onloop-"),
        temp_folder: Path | None = None,
        databases: Sequence[str] | None = None,
        application_name: str | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.temp_prefixes = tuple(temp_prefixes)
        self.temp_folder = temp_folder
        self.databases = databases
        self.application_name = application_name
        self._reading: Reading | None = None
        self._pools: sessions.PoolReading | None = None
        self._servers: dict[str, sessions.ServerReading] = {}

    def start(self) -> None:
        """Take the reading that later ones are compared with."""
        gc.collect()  # what goes by itself is not there before either
        folder = temporary_folder() if self.temp_folder is None else self.temp_folder
        self._pools, self._servers = None, {}
        if sessions.active():
            self._pools = sessions.PoolReading()
            self._servers = {alias: self._ask(alias) for alias in self._aliases()}
        # Last, so that what asking for the first time opens (a thread, a file) is in it.
        self._reading = Reading(folder, self.temp_prefixes)

    @property
    def started(self) -> bool:
        return self._reading is not None

    def leaks(self) -> list[Leak]:
        """Name what is held now beyond what was held at `start`; waits for nothing."""
        if self._reading is None:
            raise RuntimeError("LeakLedger: call start() before, or use it as a `with` block.")
        return list(self._compare(self._reading))

    def verify(self) -> None:
        """Raise `Leaked` unless everything goes within `timeout_s` seconds."""
        deadline = time.monotonic() + self.timeout_s
        while (left := self._left(deadline)) is not None:
            time.sleep(left)

    async def averify(self) -> None:
        """`verify`, for a coroutine: tasks and callbacks go on meanwhile."""
        deadline = time.monotonic() + self.timeout_s
        # A turn of the loop first: callbacks that are due may end what would be complained of.
        await asyncio.sleep(0)
        while (left := self._left(deadline)) is not None:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(left)

    def __enter__(self) -> LeakLedger:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc is None:
            self.verify()

    async def __aenter__(self) -> LeakLedger:
        self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc is None:
            await self.averify()

    def _left(self, deadline: float) -> float | None:
        """Return seconds until the next look; None if nothing is left behind."""
        leaks = self.leaks()
        if not leaks:
            return None
        if time.monotonic() >= deadline:
            raise Leaked(leaks, self.timeout_s)
        gc.collect()  # cycles of exceptions and frames hold cursors and files
        return POLL_S

    def _compare(self, reading: Reading) -> Iterator[Leak]:
        held = sessions.Held()
        if sessions.active():
            if self._pools is None:
                raise RuntimeError(
                    "LeakLedger: Django was set up after start(); set it up before."
                )
            held = sessions.held_rightly(self._pools.surrounding)
            yield from self._pools.leaks()
            for alias, before in self._servers.items():
                yield from sessions.server_leaks(alias, before, self._ask(alias), held)
        yield from reading.new_waits(FaultProxy.loops())
        yield from reading.new_threads()
        allowed = frozenset(held.descriptors | FaultProxy.descriptors() | idle_caches())
        yield from reading.new_descriptors(allowed, held.files)
        yield from reading.new_files()

    def _aliases(self) -> list[str]:
        known = sessions.postgresql_aliases()
        if self.databases is None:
            return known
        return [alias for alias in known if alias in self.databases]

    def _ask(self, alias: str) -> sessions.ServerReading:
        return sessions.read_server(alias, self.application_name)
