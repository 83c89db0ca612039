"""The states of a job, one after the other, for who watches it; and who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.module_loading import import_string

from onloop import bridge, conf
from onloop.tasks import control, results
from onloop.tasks.jobstate import State

# Seconds between two looks: at this process's memory, and at the database.
NEAR_S = 0.2
FAR_S = 1.0


async def may_see(user: Any, job: State) -> bool:
    """Ask the function that `ONLOOP["TASKS_PERMISSION"]` names, or `owner_or_staff`.

    It is called with the user and the job's state, and may be an `async def`.
    """
    path = conf.get().TASKS_PERMISSION
    if not path:
        return owner_or_staff(user, job)
    function = import_string(path)
    if iscoroutinefunction(function):
        return bool(await function(user, job))
    return bool(await bridge.run(function, user, job))


def owner_or_staff(user: Any, job: State) -> bool:
    """Tell whether `user` is logged in, and has the job or is staff."""
    if user is None or not user.is_authenticated or not user.is_active:
        return False
    owns = job.owner_id is not None and str(user.pk) == str(job.owner_id)
    return owns or bool(user.is_staff)


async def states(
    current: State | None, end_s: float, silence_s: float
) -> AsyncIterator[State | None]:
    """Give `current` and each state that is found after it, until the job has ended.

    Who takes them slowly gets fewer, and always the newest. None each `silence_s` seconds
    without news. It ends when the loop's time is `end_s`.
    """
    loop = asyncio.get_running_loop()
    told: State | None = None
    told_s = loop.time()
    while current is not None:
        if current != told:
            told, told_s = current, loop.time()
            yield current
            if current.is_finished:
                return
        elif loop.time() - told_s >= silence_s:
            told_s = loop.time()
            yield None
        if loop.time() >= end_s:
            return
        await asyncio.sleep(FAR_S if results.find(current.id) is None else NEAR_S)
        current = await control.astate(current.id)
