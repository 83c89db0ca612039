"""Tells sockets how far a job is, by a group of Channels' layer, where there is one."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
from typing import Any

from onloop.tasks.jobstate import State

logger = logging.getLogger("onloop.tasks")

# Seconds that the channel layer may take.
LAYER_TIMEOUT_S = 5.0


def group_of(job_id: str) -> str:
    return f"onloop.job.{job_id}"


async def announce(state: State) -> None:
    """Send the state to who watches the job. What gets lost is told by the next one.

    The last one may get lost too: who watches reads the database now and then.
    """
    layer = _layer()
    if layer is None:
        return
    try:
        async with asyncio.timeout(LAYER_TIMEOUT_S):
            message = {"type": "job.changed", "job": state.public()}
            await layer.group_send(group_of(state.id), message)
    except Exception:
        logger.exception("How far job %s is could not be announced.", state.id)


def _layer() -> Any:
    if not _has_channels():
        return None
    from channels.layers import get_channel_layer  # noqa: PLC0415 - may be not installed

    return get_channel_layer()


@functools.cache
def _has_channels() -> bool:
    # A project may have an app of that name.
    try:
        return importlib.util.find_spec("channels.layers") is not None
    except ImportError:
        return False
