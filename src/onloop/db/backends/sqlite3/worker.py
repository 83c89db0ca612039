"""One call on a SQLite connection in a worker thread, while the loop goes on.

As long as the worker is at work nobody else may touch the connection: SQLite would make them
wait for its mutex, and whoever waits for that with the interpreter's lock in hand stops both
threads for good. So `LoopSQLiteConnection.job` says that there is a worker, what others would
do to the connection or its cursors meanwhile (closing, above all) is done by the worker at its
end, and a caller that cannot wait for the end leaves the connection to the worker for good.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from onloop.waiting import Waiter

if TYPE_CHECKING:
    from onloop.db.backends.sqlite3.connection import LoopSQLiteConnection

T = TypeVar("T")

# Statements of this process that run in threads at once; more queue. A few: SQLite lets go of
# the interpreter's lock between two rows only for as long as finding the next one takes.
WORKERS = 4
# Seconds that a cancelled statement has to stop, and that a write in a transaction has to
# finish before it is stopped after all.
STOP_S = 5.0
FINISH_S = 10.0

_executor: ThreadPoolExecutor | None = None
_guard = threading.Lock()


def executor() -> ThreadPoolExecutor:
    """The worker threads of this process; none is started before the first slow statement."""
    global _executor  # noqa: PLW0603 - made once, and once in a forked child
    with _guard:
        if _executor is None:
            _executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="onloop-sqlite")
        return _executor


def _forget_executor() -> None:
    global _executor, _guard
    _executor, _guard = None, threading.Lock()


# The threads stay behind in the parent.
os.register_at_fork(after_in_child=_forget_executor)


class Job(Generic[T]):
    """A call that a worker makes and a bridge waits for."""

    def __init__(
        self, connection: LoopSQLiteConnection, call: Callable[[], T], *, stoppable: bool
    ) -> None:
        self.connection = connection
        self.stopped = False
        # Of the worker's processor: waiting for the interpreter's lock is not the statement's.
        self.cpu_s = 0.0
        self._call = call
        self._stoppable = stoppable
        self._guard = threading.Lock()
        self._waiter: Waiter[None] = Waiter()
        self._result: T
        self._error: BaseException | None = None
        self._later: list[Callable[[], object]] = []
        self._future: Future[None] | None = None

    def run(self) -> T:
        """Start the worker and wait for it, without holding the loop.

        A cancellation stops the call, or lets it finish where it must not be stopped, and goes
        on when the worker has let go of the connection. Further ones make no difference.
        """
        self.connection.look_often(False)
        self.connection.job = self
        try:
            context = contextvars.copy_context()
            self._future = executor().submit(context.run, self._work)
        except BaseException:
            self.connection.job = None
            raise
        try:
            done = self._waiter.wait(None)
        except asyncio.CancelledError:
            if self._stoppable or not self._outlast(FINISH_S):
                self.stop()
            self._outlast(STOP_S)
            raise
        except BaseException:
            self.stop()  # the coroutine was closed: nothing can be waited for
            raise
        if not done:  # the bound of the shield that the caller stands under
            self.stop()
            raise sqlite3.OperationalError(
                "the statement did not end within the time that a cancelled task gives the "
                "end of its transaction"
            )
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle of exception, traceback and this frame
        return self._result

    def stop(self) -> None:
        """Let SQLite end the statement at its next look at the time."""
        self.stopped = True
        if self._future is not None and self._future.cancel():
            self._end()  # it was in the queue for a thread
            return
        with self._guard:
            if self.connection.job is self:
                self.connection.stop_statement()

    def later(self, call: Callable[[], object]) -> bool:
        """Have the worker do something to the connection at its end; False if it is there."""
        with self._guard:
            if self.connection.job is not self:
                return False
            self._later.append(call)
            return True

    def _outlast(self, bound_s: float) -> bool:
        """Wait for the worker whatever else arrives here; return whether it is done."""
        deadline = time.monotonic() + bound_s
        while True:
            try:
                return self._waiter.wait(max(deadline - time.monotonic(), 0))
            except asyncio.CancelledError:
                pass  # one is on its way already

    def _work(self) -> None:
        began = time.thread_time()
        try:
            if not self.stopped:
                self._result = self._call()
        except BaseException as exc:  # noqa: BLE001 - it is the caller's
            self._error = exc
        self.cpu_s = time.thread_time() - began
        self._end()

    def _end(self) -> None:
        while True:
            with self._guard:
                later, self._later = self._later, []
                if not later:
                    self.connection.job_ended()
                    self._waiter.set(None)
                    return
            for call in later:
                try:
                    call()
                except sqlite3.Error:
                    pass  # closed meanwhile
