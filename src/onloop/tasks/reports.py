"""What a job calls, `progress()` and `should_stop()`; and whose it will be, `owned_by()`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from onloop import bridge
from onloop.tasks.jobstate import MAX_NOTE

if TYPE_CHECKING:
    from onloop.tasks.live import LiveJob

current_job: ContextVar[LiveJob | None] = ContextVar("onloop_job", default=None)
_owner: ContextVar[Any] = ContextVar("onloop_job_owner", default=None)


class _Turn:
    """An awaitable that lets other tasks run; and nothing is wrong if nobody awaits it."""

    def __await__(self) -> Generator[Any, Any, None]:
        return asyncio.sleep(0).__await__()


_turn = _Turn()


def progress(done: float, total: float | None = None, note: str = "") -> Awaitable[None]:
    """Report how far this job is: `done` of `total`, in any unit, with a word to say about it.

    `await progress(…)` in an `async def` job; in a synchronous one a plain call. It never waits
    for the database: the newest report is written soon, at most some five times a second.
    Outside of a job it does nothing, so that a task's function can be called by itself. What is
    left out of a report is kept: `total`; a note is of its report.

    Raises `JobCancelled` if the job was cancelled, and `ValueError` for numbers that cannot be.
    """
    if not (math.isfinite(done) and done >= 0):
        raise ValueError(f"done must be a number, 0 or more, not {done!r}.")
    if total is not None and not (math.isfinite(total) and total >= 0):
        raise ValueError(f"total must be a number, 0 or more, or None, not {total!r}.")
    job = current_job.get()
    if job is not None:
        job.report(done, total, _storable(str(note)[:MAX_NOTE]))
        _let_others_run(job)
    return _turn


def _storable(note: str) -> str:
    """Users may have written it: a character that no database takes must not lose the state."""
    return note.encode(errors="replace").decode().replace("\0", "?")


def should_stop() -> bool:
    """Tell whether somebody has cancelled the job that the caller runs in.

    For a synchronous job that has nothing to report, and would rather return than be raised at.
    It never waits for the database: what another process has said, a later call tells. A
    synchronous job on the loop lets others run here, and is cancelled here as where it waits.
    """
    job = current_job.get()
    if job is None:
        return False
    _let_others_run(job)
    return job.should_stop()


def _let_others_run(job: LiveJob) -> None:
    """On the loop, where a long synchronous job would let nobody else run."""
    if not job.is_async and bridge.active():
        bridge.await_(_turn)


@contextmanager
def owned_by(user: Any) -> Iterator[None]:
    """Let the jobs that are enqueued in this block belong to `user`, who may then see them."""
    token = _owner.set(getattr(user, "pk", user))
    try:
        yield
    finally:
        _owner.reset(token)


def owner_of_caller() -> Any:
    return _owner.get()
