"""An event loop in a thread of its own, for code that has no loop to wait on.

Its lifetime: a process has one of a kind (`LoopOfProcess`), started by who first needs it. It
ends when it is told to, and takes nothing more from then on: what it was given before is
cancelled, has ended, and its waiting thread is told so; clients of the loop (`onloop.perloop`)
are closed with it. The thread is a daemon, so who owes something to the process's end (jobs,
open connections) ends it there. A forked child has none, and makes its own; its parent's is not
its to touch.

This module must never import Django or a driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Step = Callable[[], Coroutine[Any, Any, object]]
Around = Callable[[], contextlib.AbstractAsyncContextManager[object]]

logger = logging.getLogger("onloop")

# Seconds that tasks have at the end of the loop, once they are cancelled.
CANCEL_S = 5.0


class LoopThread:
    """An event loop in a daemon thread. Its methods are for other threads.

    `name`: of the thread. `around`: entered on the loop before it takes anything, and left when
    all that it took has ended.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, name: str, around: Around = contextlib.AsyncExitStack) -> None:
        """Raises what the loop raises that cannot be made, and what `around` raises."""
        self._around = around
        # Held while something is handed over, so that nothing comes behind the end.
        self._guard = threading.Lock()
        self._is_ending = False
        self._serving: asyncio.Task[Any] | None = None
        # Not `Thread.join` alone: on Python 3.11 it takes the thread for ended once Ctrl-C has
        # interrupted it.
        self._over = threading.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._main, args=(started,), name=name, daemon=True
        )
        try:
            self._thread.start()
            started.result()
        except BaseException:
            self._abandon(started)
            raise

    def _abandon(self, started: Future[None]) -> None:
        """Nobody will have it: it failed, or who made it was interrupted, by Ctrl-C say."""
        self._is_ending = True
        started.cancel()
        if self._serving is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._serving.cancel)

    def _main(self, started: Future[None]) -> None:
        try:
            with asyncio.Runner() as runner:
                self.loop = runner.get_loop()
                runner.run(self._serve(started))
        except BaseException as exc:
            if not started.done():
                started.set_exception(exc)
            elif not self._is_ending or not isinstance(exc, asyncio.CancelledError):
                logger.critical("The event loop of %s broke.", self._thread.name, exc_info=exc)
        finally:
            self._over.set()

    async def _serve(self, started: Future[None]) -> None:
        self._asked: asyncio.Future[Step] = self.loop.create_future()
        self._again: asyncio.Task[object] | None = None
        self._serving = asyncio.current_task()
        if started.cancelled():
            return
        async with self._around():
            kept = asyncio.all_tasks()
            if not started.set_running_or_notify_cancel():
                return
            started.set_result(None)
            before = await self._asked
            try:
                await before()
            finally:
                await _cancel(asyncio.all_tasks() - kept)

    @property
    def is_alive(self) -> bool:
        """Whether it takes what it is given, as far as one can know."""
        return not (self._is_ending or self._over.is_set())

    def call(
        self,
        function: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> None:
        """Have `function` called on the loop, by default in a context in which nothing is set.

        Raises `RuntimeError` if the loop ends; otherwise it will be called.
        """
        with self._guard:
            self._refuse_if_ending()
            self.loop.call_soon_threadsafe(
                function, *args, context=context or contextvars.Context()
            )

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `make()` on the loop, in a copy of the caller's context, which waits for it.

        If the caller is interrupted (Ctrl-C), it is cancelled. Raises
        `concurrent.futures.CancelledError` if it is cancelled by the loop's end, and
        `RuntimeError` if that was before.
        """
        with self._guard:
            self._refuse_if_ending()
            future = asyncio.run_coroutine_threadsafe(make(), self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # harmless where it has ended
            raise

    def _refuse_if_ending(self) -> None:
        if self._is_ending:
            raise RuntimeError(f"The event loop of {self._thread.name} ends.")

    def end(self, before: Step | None = None, timeout_s: float | None = None) -> None:
        """Await `before` on the loop, then cancel what is left, close all, and end.

        It is waited for, for at most `timeout_s` seconds; what then holds the loop is logged.
        May be called again, by who was interrupted: then this `before` runs as well.
        """
        with self._guard:
            self._is_ending = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._ask, before or _nothing)
        if self._over.wait(timeout_s):
            self._thread.join()
        else:
            logger.warning(
                "The event loop of %s did not end within %g s: a task holds it.",
                self._thread.name,
                timeout_s,
            )

    def _ask(self, before: Step) -> None:
        if not self._asked.done():
            self._asked.set_result(before)
        else:
            self._again = self.loop.create_task(before())


async def _nothing() -> None:
    pass


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Here and not by `asyncio.Runner`, so that tasks have their pools while they roll back."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_S)


class LoopOfProcess:
    """The `LoopThread` of a process, of one kind; the arguments are those of the thread."""

    def __init__(self, name: str, around: Around = contextlib.AsyncExitStack) -> None:
        self._name = name
        self._around = around
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._guard = threading.Lock()  # another thread of the parent may have held the old
        self._made: LoopThread | None = None

    @property
    def made(self) -> LoopThread | None:
        """The thread, if there is one."""
        return self._made

    def get(self) -> LoopThread:
        """Return the thread, which is started if need be. Not for code on its own loop."""
        with self._guard:
            if self._made is None or not self._made.is_alive:
                self._made = LoopThread(self._name, self._around)
            return self._made

    def end(self, before: Step | None = None, timeout_s: float | None = None) -> None:
        """End the thread, if there is one, as `LoopThread.end`; `get` then starts another."""
        with self._guard:
            ending, self._made = self._made, None
        if ending is not None:
            ending.end(before, timeout_s)
