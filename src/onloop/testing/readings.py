"""What this process holds: tasks, threads, file descriptors, temporary files, bridges.

A `Reading` is taken before and after; each of its methods names what the later one has and
the earlier had not. Objects are remembered by weak references, so that a reading keeps
nothing alive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import gc
import itertools
import os
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asgiref.sync

from onloop import bridge, watchdog
from onloop.testing.stacks import Stack

_DESCRIPTORS = Path("/proc/self/fd")
_BESIDE_SQLITE = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class Leak:
    """One thing that is there and was not before. `kind` is one of

    "connection", "scope", "task", "thread", "bridge", "descriptor", "file", "session",
    "transaction", "lock", "server".
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class Reading:
    """What the process holds now. `folder`, `prefixes`: which temporary files count."""

    def __init__(self, folder: Path, prefixes: tuple[str, ...]) -> None:
        self._folder = folder
        self._prefixes = prefixes
        tasks, bridges = _waiting_objects()
        self._tasks = weakref.WeakSet(tasks)
        self._bridges = weakref.WeakSet(bridges)
        self._threads = weakref.WeakSet(threading.enumerate())
        self._descriptors = set(descriptors().items())
        self._files = set(self._temporary_files())

    def new_waits(self, allowed: Set[asyncio.AbstractEventLoop]) -> Iterator[Leak]:
        """Tasks that are not done, of whatever loop, and bridges that nobody drives any more.

        `allowed`: loops whose tasks are no test's. A suspended greenlet is never collected
        before Python 3.15.
        """
        current = _current_task()
        tasks, bridges = _waiting_objects()
        for task in tasks:
            if task in self._tasks or task is current or task.get_loop() in allowed:
                continue
            yield Leak("task", _describe_task(task))
        for suspended in bridges:
            # One whose task goes on is named by that task.
            if suspended not in self._bridges and suspended.task.done():
                stack = Stack.of(suspended)
                yield Leak(
                    "bridge",
                    f"a bridge of {suspended.task.get_name()!r}, which has ended, is still "
                    f"suspended in:\n{stack}",
                )

    def new_threads(self) -> Iterator[Leak]:
        for thread in threading.enumerate():
            if thread in self._threads or thread.name == watchdog.NAME:
                continue  # that one is the process's
            if not _is_idle_worker(thread):
                frame = sys._current_frames().get(thread.ident or 0)
                where = Stack.from_frames(_frames_of(frame))
                yield Leak("thread", f"{thread.name!r} ({_target(thread)}) runs in:\n{where}")

    def new_descriptors(self, allowed: frozenset[int], databases: Set[str]) -> Iterator[Leak]:
        """`allowed`: those of idle connections. `databases`: files that are rightly open."""
        now = descriptors()
        # SQLite keeps the descriptors of a closed connection for as long as the process has a
        # lock on the file by another one (closing any would lose that), and with a write-ahead
        # log that is always. So these tell something only once nobody has the file open.
        beside = {name + suffix for name in databases for suffix in _BESIDE_SQLITE}
        spare = _spare_descriptors()
        for number, target in sorted(now.items()):
            if number in allowed or (number, target) in self._descriptors:
                continue
            if target == os.devnull and spare:
                spare -= 1
                continue
            if target in databases or target in beside:
                continue
            yield Leak(
                "descriptor", f"{number} is open: {_describe_descriptor(number, target)}"
            )

    def new_files(self) -> Iterator[Leak]:
        for path in sorted(self._temporary_files()):
            if path not in self._files:
                kind = "folder" if path.is_dir() else "file"
                yield Leak("file", f"temporary {kind} {path}")

    def _temporary_files(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if path.name.startswith(self._prefixes):
                    with contextlib.suppress(
                        FileNotFoundError
                    ):  # another process's, gone again
                        if path.lstat().st_uid == os.getuid():
                            yield path


def _waiting_objects() -> tuple[list[asyncio.Task[Any]], list[bridge.Bridge]]:
    """Return the tasks that are not done, of any loop, and the bridges that are suspended."""
    wanted = _kinds_of(asyncio.Task) | _kinds_of(bridge.Bridge)
    things = gc.get_objects()
    # Some 300,000 objects: a loop in Python would take 100 ms.
    found = list(itertools.compress(things, map(wanted.__contains__, map(type, things))))
    tasks = [thing for thing in found if isinstance(thing, asyncio.Task) and not thing.done()]
    bridges = [
        thing
        for thing in found
        if isinstance(thing, bridge.Bridge)
        and thing.gr_frame is not None
        and not thing.finished  # else it waits to be used again
    ]
    return tasks, bridges


def _kinds_of(kind: type) -> set[type]:
    return {kind}.union(*map(_kinds_of, kind.__subclasses__()))


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _describe_task(task: asyncio.Task[Any]) -> str:
    stack = Stack.of(task)
    end = "its loop is closed, it will never end; " if task.get_loop().is_closed() else ""
    return f"{task.get_name()!r} is not done; {end}it waits in:\n{stack}"


# --- threads ----------------------------------------------------------------------------------


def _frames_of(frame: Any) -> list[Any]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _target(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    return getattr(target, "__qualname__", type(thread).__qualname__)


def _is_idle_worker(thread: threading.Thread) -> bool:
    """Tell whether this is a worker without work of the loop's executor, asgiref's or ours.

    Those executors live as long as the loop or the process; a worker that is busy, and one of
    an executor that somebody has made and forgotten, is a leak.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    worker = concurrent.futures.thread._worker
    if frame is None or frame.f_code is not worker.__code__:
        return frame is None  # it is just ending
    executor = frame.f_locals["executor_reference"]()
    if executor is None:
        return True  # collected: the thread is about to see it
    if executor is asgiref.sync.SyncToAsync.single_thread_executor:
        return True
    if executor in asgiref.sync.AsyncToSync.loop_thread_executors.values():
        return True
    sqlite = sys.modules.get("onloop.db.backends.sqlite3.worker")  # not loaded for this
    if sqlite is not None and executor is sqlite._executor:
        return True
    files = sys.modules.get("onloop.files.threads")
    if files is not None and executor in files._executors.values():
        return True
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    # uvloop keeps its executor where only the garbage collector can see it.
    return getattr(loop, "_default_executor", None) is executor or any(
        holder is loop for holder in gc.get_referrers(executor)
    )


# --- file descriptors -------------------------------------------------------------------------


def descriptors() -> dict[int, str]:
    """Return the open file descriptors of this process and what each points at."""
    found = {}
    try:
        entries = list(_DESCRIPTORS.iterdir())
    except FileNotFoundError:
        return {}  # no /proc on this system
    for entry in entries:
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            pass  # the one that the list was read through
    return found


def _spare_descriptors() -> int:
    """How many of the null device the running loop may keep.

    From its first socket on, libuv keeps one for the day when there are no others left.
    """
    loop = asyncio._get_running_loop()
    return int(type(loop).__module__.partition(".")[0] == "uvloop")


def idle_caches() -> frozenset[int]:
    """Connections of caches, which stay open as those of a pool do."""
    clients = sys.modules.get("onloop.cache.clients")  # not loaded for this
    return frozenset() if clients is None else clients.descriptors()


def _describe_descriptor(number: int, target: str) -> str:
    if target.startswith("socket:"):
        try:
            with socket.socket(fileno=os.dup(number)) as twin:
                return f"{target} {_name(twin.getsockname)} -> {_name(twin.getpeername)}"
        except OSError:
            return target
    if target.endswith(" (deleted)"):
        for thing in gc.get_objects():
            # Not `isinstance`, which asks a lazy object for what it stands for.
            if not issubclass(type(thing), tempfile.SpooledTemporaryFile):
                continue
            spooled: Any = thing
            # `fileno()` of one that is still in memory would write it to disk.
            if spooled._rolled and not spooled.closed and spooled.fileno() == number:
                return f"{target}, a SpooledTemporaryFile that has rolled over to disk"
    return target


def _name(ask: Any) -> str:
    try:
        address = ask()
    except OSError:
        return "nobody"
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return str(address) or "unnamed"


def temporary_folder() -> Path:
    return Path(tempfile.gettempdir())
