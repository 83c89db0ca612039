"""A message that Celery's consumer handed to the pool, run on the loop or in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks
from celery.worker.state import revoked_stamps

from onloop import bridge, watchdog
from onloop.asgi.unit import in_unit
from onloop.celery.errors import SoftLimit
from onloop.celery.execution import Execution, Interruptible, current
from onloop.celery.explain import explain
from onloop.celery.hops import hop

logger = logging.getLogger("onloop.celery")

# By these numbers Celery names what it wants terminated; they are not those of processes.
_numbers = itertools.count(1)


@dataclass(eq=False)
class Job:
    """What is to be called, and what Celery wants to be told; limits are in seconds."""

    name: str
    on_loop: bool
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    on_accepted: Callable[[int, float], object]
    on_success: Callable[[Any], object]
    on_failure: Callable[[Any], object]
    on_timeout: Callable[[bool, float], object]
    # What is told does not wait for the broker, and need not hop.
    quick: bool
    # Called when something was told.
    told: Callable[[], object]
    soft_limit: float | None = None
    limit: float | None = None
    number: int = field(default_factory=lambda: next(_numbers))
    execution: Execution = field(default_factory=Execution)
    in_code: bool = False
    timed_out: bool = False

    def terminate(self, signal: object) -> None:
        """What Celery calls after `TaskPool.terminate_job`, which has done it."""

    def _is_called_off(self) -> bool:
        """Whether it was revoked, or has expired, while it waited for its turn.

        Celery looks when it hands a message to the pool, for which its prefork pool has a place
        by then. If it was, Celery stores that, which blocks, and acknowledges the message.
        """
        request = getattr(self.on_accepted, "__self__", None)
        if not isinstance(request, Request):
            return False
        may_be = request.expires or request.id in revoked_tasks or revoked_stamps
        if not may_be or not hop(request.revoked):
            return False
        self.told()
        return True

    # --- on the loop --------------------------------------------------------------------------

    def begin_on(self, loop: asyncio.AbstractEventLoop, over: Callable[[Job], None]) -> None:
        """Make the job's task, in a context of its own; call `over` when it has ended."""
        task = self.execution.task = loop.create_task(
            Interruptible(self._serve(), self.execution),
            name=f"celery {self.name}",
            context=contextvars.Context(),
        )
        task.add_done_callback(lambda _: over(self))

    async def _serve(self) -> None:
        current.set(self.execution)
        try:
            with watchdog.serving(explain):
                await bridge.run(in_unit, self._apply)
        except asyncio.CancelledError:
            raise
        except BaseException:
            logger.exception("What Celery does around task %s failed.", self.name)

    def _apply(self) -> None:
        if self._is_called_off():
            return
        self._tell(self.on_accepted, self.number, time.monotonic())
        if self.execution.ended:
            return  # revoked while it waited; Celery has settled that
        timers = self._set_limits()
        try:
            outcome = self.target(*self.args, **self.kwargs)
        except asyncio.CancelledError:
            if self.timed_out:
                self._tell(self.on_timeout, False, self.limit or 0.0)
            elif not self.execution.ended:
                raise  # the loop is closed
        except BaseException as exc:  # noqa: BLE001 - Celery is told of it
            self._tell(self.on_failure, _failure(exc))
        else:
            self._tell(self.on_success, outcome)
        finally:
            for timer in timers:
                timer.cancel()

    def _tell(self, callback: Callable[..., object], *args: Any) -> None:
        if self.quick:
            callback(*args)
        else:
            hop(callback, *args)
        self.told()

    def _set_limits(self) -> list[asyncio.TimerHandle]:
        loop = asyncio.get_running_loop()
        timers = []
        if self.soft_limit:
            timers.append(loop.call_later(self.soft_limit, self._soft_limit_is_over))
        if self.limit:
            timers.append(loop.call_later(self.limit, self._limit_is_over))
        return timers

    def _soft_limit_is_over(self) -> None:
        logger.warning("Soft time limit (%ss) exceeded for %s", self.soft_limit, self.name)
        self.execution.limit(SoftLimit(self.soft_limit))

    def _limit_is_over(self) -> None:
        if not self.execution.ended:
            self.execution.end()
            self.timed_out = self.execution.ended  # not if its code was over already

    # --- in a thread --------------------------------------------------------------------------

    def begin_in(self, threads: Executor, over: Callable[[Job], None]) -> None:
        """Run in a thread, in a context of its own; call `over` there when it has ended."""

        def work() -> None:
            try:
                contextvars.Context().run(self._apply_in_thread)
            except BaseException:
                logger.exception("What Celery does around task %s failed.", self.name)
            finally:
                over(self)

        threads.submit(work)

    def _apply_in_thread(self) -> None:
        if self._is_called_off():
            return
        self.on_accepted(self.number, time.monotonic())
        self.told()
        if self.execution.ended:
            return  # revoked while it waited
        self.in_code = True
        try:
            outcome = self.target(*self.args, **self.kwargs)
        except BaseException as exc:  # noqa: BLE001 - Celery is told of it
            self.on_failure(_failure(exc))
        else:
            self.on_success(outcome)
        finally:
            self.told()

    def stop(self) -> None:
        """Cancel it: on the loop's thread, or, if it runs in a thread, on any."""
        self.execution.end()
        if self.in_code:
            logger.warning(
                "Task %s goes on to its end: it is synchronous and runs in a thread, which "
                "cannot be stopped. Make it `async def`, or give it a worker with the prefork "
                "pool.",
                self.name,
            )


def _failure(error: BaseException) -> Any:
    """What Celery takes for the end of a task by `error`; to be called while handling it."""
    if isinstance(error, Exception | WorkerShutdown | WorkerTerminate):
        return ExceptionInfo()
    try:
        raise WorkerLostError(repr(error)) from error
    except WorkerLostError:
        return ExceptionInfo()
