"""What others do with a job: look how far it is, cancel it; wait for all of a loop's."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from onloop import bridge
from onloop.tasks import home, records, results
from onloop.tasks.framework import task_backends
from onloop.tasks.jobstate import State

logger = logging.getLogger("onloop.tasks")


def state(job_id: str) -> State | None:
    """How far the job is: from this process if it runs here, else from the database.

    None if neither knows it.
    """
    job = results.find(job_id)
    if job is not None:
        return job.state()
    return records.read(job_id) if records.are_kept() and _may_be_id(job_id) else None


async def astate(job_id: str) -> State | None:
    """As `state`, for `await`."""
    return await bridge.run(state, job_id)


def cancel(job_id: str) -> bool:
    """Cancel a job; return False if it is not known, or has ended.

    One that waits does not begin. In this process, the task of an `async def` job is cancelled
    where it waits; a synchronous job gets `JobCancelled` from `progress()`. A job in another
    process hears of it when it next reports or asks, and if it does neither, within some 15 s.
    A job may finish all the same: look at its state.
    """
    job = results.find(job_id)
    if job is not None:
        return job.ask_to_stop()
    if not _may_be_id(job_id):
        return False
    known = records.are_kept() and records.ask_to_stop(job_id)
    revoked = False
    for backend in _revoking():
        try:
            revoked = backend.revoke(job_id, known=known) or revoked
        except Exception:
            if not known:
                raise
            # It hears of it from the database.
            logger.exception("The workers could not be told that job %s is cancelled.", job_id)
    return known or revoked


async def acancel(job_id: str) -> bool:
    """As `cancel`, for `await`."""
    return await bridge.run(cancel, job_id)


def _may_be_id(text: str) -> bool:
    """Whether it can be looked for: it may come from a client, with NUL or half a character."""
    return text.isascii() and text.isprintable()


def _revoking() -> list[Any]:
    return [backend for backend in task_backends.all() if hasattr(backend, "revoke")]


async def drain(timeout_s: float | None = None) -> None:
    """Run the jobs of the running loop to their end; after `timeout_s` seconds cancel them.

    For the end of a program of your own: `asyncio.run` cancels what still runs. Servers with a
    lifespan do it themselves. The loop takes no more jobs after that.
    """
    await home.drain_loop(asyncio.get_running_loop(), timeout_s)
