"""Calls that would hold the loop on a disk: in threads of our own, one after another per file.

A thread cannot be cancelled. So a cancelled task goes on only when the thread has let go of the
file, and what it does about the file next cannot meet the old call. A call that hangs holds it
back for `FINISH_S` seconds; from then on the file stays with its thread, and later calls,
closing included, wait in line behind it.

The threads are not the loop's own: a slow disk must not hold up DNS look-ups, nor the other way
round. This module must never run a call about a file while another one is at work.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Literal, TypeVar

from onloop import bridge
from onloop.waiting import Waiter, running_loop

T = TypeVar("T")
Kind = Literal["disk", "remote"]

logger = logging.getLogger("onloop.files")

# Threads of this process. A storage on the network may keep its threads for seconds: it has its
# own, so that disks are not waited for behind it. More calls queue.
WORKERS: dict[Kind, int] = {"disk": 16, "remote": 32}
# Seconds that a cancelled task waits for its thread to let go of the file.
FINISH_S = 10.0

_executors: dict[Kind, ThreadPoolExecutor] = {}
_guard = threading.Lock()
_here = threading.local()


def executor(kind: Kind) -> ThreadPoolExecutor:
    """The threads of this process; none is started before its first call."""
    with _guard:
        if kind not in _executors:
            name = f"onloop-files-{kind}"
            _executors[kind] = ThreadPoolExecutor(WORKERS[kind], thread_name_prefix=name)
        return _executors[kind]


def _forget_executors() -> None:
    global _executors, _guard
    _executors, _guard = {}, threading.Lock()


# The threads stay behind in the parent.
os.register_at_fork(after_in_child=_forget_executors)


class GivenUp(Exception):
    """Nobody waits for the call any more; raised inside of it, seen by nobody."""


def in_call() -> bool:
    """Tell whether the caller runs in a thread of this module, in a call."""
    return getattr(_here, "job", None) is not None


def go_on() -> None:
    """Raise `GivenUp` in a call for which nobody waits any more; long calls ask for it."""
    job = getattr(_here, "job", None)
    if job is not None and job.given_up:
        raise GivenUp


class Job(Generic[T]):
    """A call in a thread. `undo` is called with its result if nobody waits for that any more.

    `stays`: it is made even if whoever wanted it gives up before its turn.
    `waited`: False where nobody can wait.
    """

    def __init__(
        self,
        call: Callable[[], T],
        *,
        kind: Kind = "disk",
        undo: Callable[[T], object] | None = None,
        stays: bool = False,
        waited: bool = True,
    ) -> None:
        self.kind = kind
        self.stays = stays
        self.begun = self.given_up = False
        self._call = call
        self._undo = undo
        self._context = contextvars.copy_context()
        self._waiter: Waiter[None] | None = Waiter() if waited else None
        self._strand: Strand
        self._result: T
        self._error: BaseException | None = None

    def wait(self, timeout_s: float | None = None) -> T:
        """Wait for the result, or raise what the call raised.

        A cancellation goes on when the thread is done, after `FINISH_S` seconds at the latest.
        Raises `TimeoutError` after `timeout_s` seconds; the call goes on.
        """
        assert self._waiter is not None
        try:
            done = self._waiter.wait(timeout_s)
        except asyncio.CancelledError:
            self.give_up()
            raise
        except BaseException:  # the coroutine was closed: nothing can be waited for
            self.give_up(outlast=False)
            raise
        if not done:
            self.give_up(outlast=False)
            raise TimeoutError("The file's thread did not answer in time.")
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # no cycle of exception, traceback and this frame

    def give_up(self, *, outlast: bool = True) -> None:
        """Let the call end without its caller: take it out of the line, or wait for its end."""
        with self._strand.guard:
            self.given_up = True
            if not self.begun and not self.stays:
                self._strand.jobs.remove(self)
                return
            over = self._waiter is not None and self._waiter.done
        if not over:
            if outlast:
                self._outlast()
        elif self._undo is not None and self._error is None:
            # It was there already when the cancellation came.
            undo, result = self._undo, self._result
            job = Job(lambda: undo(result), kind=self.kind, stays=True, waited=outlast)
            self._strand.put(job)
            if outlast:
                job._outlast()

    def _outlast(self) -> None:
        """Wait for the thread whatever else arrives here."""
        assert self._waiter is not None
        deadline = time.monotonic() + FINISH_S
        while True:
            try:
                self._waiter.wait(max(deadline - time.monotonic(), 0))
                return
            except asyncio.CancelledError:
                pass  # one is on its way already

    def run(self) -> None:
        """Make the call, in the thread."""
        _here.job = self
        try:
            self._result = self._context.run(self._call)
        except BaseException as exc:  # noqa: BLE001 - it is the caller's
            self._error = exc
        finally:
            _here.job = None
        if not self._end() and self._undo is not None:
            try:
                self._context.run(self._undo, self._result)
            except Exception:
                logger.exception("What a cancelled task left behind could not be undone.")
            self._undo = None
            self._end()

    def _end(self) -> bool:
        """Wake whoever waits; False if the result must be undone before."""
        with self._strand.guard:
            if self.given_up and self._undo is not None and self._error is None:
                return False
            if self._waiter is not None:
                self._waiter.set(None)
        return True


class Strand:
    """The calls about one file: one at a time, in the order in which they came."""

    __slots__ = ("__weakref__", "_busy", "guard", "jobs")

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.jobs: deque[Job[Any]] = deque()
        self._busy = False

    @property
    def busy(self) -> bool:
        """A thread is at work, or about to be."""
        return self._busy

    def put(self, job: Job[T]) -> Job[T]:
        """Put a call in line."""
        job._strand = self
        with self.guard:
            self.jobs.append(job)
            if self._busy:
                return job
            self._busy = True
        try:
            executor(job.kind).submit(self._work)
        except BaseException:
            with self.guard:
                self._busy = False
                self.jobs.remove(job)
            raise
        return job

    def _work(self) -> None:
        while True:
            with self.guard:
                job = self.jobs.popleft() if self.jobs else None
                if job is None:
                    self._busy = False
                    return
                job.begun = True
            job.run()
            del job
            with self.guard:
                following = self.jobs[0].kind if self.jobs else None
            if following is not None:
                try:
                    # At the end of the queue for a thread: other files are waited for too.
                    executor(following).submit(self._work)
                    return
                except RuntimeError:
                    pass  # the interpreter is about to end: here, then

    def call(
        self,
        call: Callable[[], T],
        *,
        kind: Kind = "disk",
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """In a bridge, make the call in a thread, the loop goes on; elsewhere right here."""
        if not bridge.active():
            return call()
        return self.put(Job(call, kind=kind, undo=undo)).wait()

    def finish(self, call: Callable[[], object], *, kind: Kind = "disk") -> None:
        """Make the call, which closes the file, after those before it, come what may.

        In a bridge it is waited for, at most `FINISH_S` seconds.
        """
        if bridge.active():
            try:
                self.put(Job(call, kind=kind, stays=True)).wait(FINISH_S)
            except TimeoutError:
                logger.warning("A file is closed later: its thread has not come back yet.")
        elif self._busy and running_loop() is not None:
            self.put(Job(call, kind=kind, stays=True, waited=False))
        else:
            call()
