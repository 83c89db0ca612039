"""What the tests of SQLite share: other processes and files, and statements that are slow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from django.db import connections
from django.test import override_settings

import onloop
from onloop import bridge
from tests.project.library.models import Author

# Enough instructions for SQLite to look at the time (every 1000), however quick it is.
NUMBERS = (
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 5000) "
)
# Slow where a statement may hold the loop for no time at all.
SLOW = f"{NUMBERS} SELECT count(*) FROM numbers"
# A budget that whatever SQLite looks at the time in is longer than.
NO_TIME_MS = 1e-6
# One that nothing in these tests is longer than.
ALL_TIME_MS = 60_000


class OtherProcess:
    """A process that does on a database file what it is told, a line of SQL at a time."""

    PROGRAM = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for line in sys.stdin:\n"
        "    print(connection.execute(line).fetchall(), flush=True)\n"
    )

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def execute(self, sql: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(sql + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate()


def make_authors(alias: str) -> None:
    """Make the table, in plain sync code, and leave no connection behind."""
    with connections[alias].schema_editor() as editor:
        editor.create_model(Author)
    connections[alias].close()


class Probe:
    """A SQL function, `probe(x)`, that tells which threads it was called in.

    On the loop's thread it returns at once. In a worker it waits, once `hold` was called, until
    `release` is: so a test decides when a slow statement is done.
    """

    def __init__(self) -> None:
        self.loop_thread = threading.get_ident()
        self.on_loop = 0
        self.in_worker = 0
        self.threads: set[str] = set()
        # A worker is in the statement.
        self.entered = threading.Event()
        self._go = threading.Event()
        self._go.set()

    def __call__(self, value: Any) -> Any:
        if threading.get_ident() == self.loop_thread:
            self.on_loop += 1
        else:
            self.in_worker += 1
            self.threads.add(threading.current_thread().name)
            self.entered.set()
            assert self._go.wait(90)
        return value

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()


@asynccontextmanager
async def inline_ms(milliseconds: float) -> AsyncIterator[None]:
    """A scope whose statements may hold the loop for as long."""
    with override_settings(ONLOOP={"SQLITE_INLINE_MS": milliseconds}):
        async with onloop.scope():
            yield


async def refused(task: asyncio.Task[Any]) -> None:
    """Let the loop go round often while `task` waits."""
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not task.done()


async def happened(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


async def rows_of(sql: str, alias: str = "default") -> list[Any]:
    """The first column of what a statement by hand returns."""

    def fetch() -> list[Any]:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            return [row[0] for row in cursor.fetchall()]

    return await bridge.run(fetch)
