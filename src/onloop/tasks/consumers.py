"""How far a job is, live over a socket. Needs Channels."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from onloop.db import scope
from onloop.tasks import control
from onloop.tasks.announcing import group_of
from onloop.tasks.jobstate import State
from onloop.tasks.watching import FAR_S, may_see
from onloop.waiting import settled

logger = logging.getLogger("onloop.tasks")

# Close code for a job that is not there, or not for this user to see.
NOT_FOUND = 4404
# Seconds between two looks where a channel layer tells of each state: one may get lost.
WITH_LAYER_S = 5.0


class JobConsumer(AsyncJsonWebsocketConsumer):
    """`path("jobs/<str:job_id>/", JobConsumer.as_asgi())`: each state of one job, as JSON.

    It closes with 1000 after the last one, and with 4404 where there is no such job.
    """

    _group: str | None = None
    _watching: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        job_id = self.scope["url_route"]["kwargs"]["job_id"]
        await self.accept()
        state = await control.astate(job_id)
        if state is None or not await may_see(self.scope.get("user"), state):
            await self.close(NOT_FOUND)
            return
        if self.channel_layer is not None:
            # Only now: what is no job's id may be no group's name either.
            self._group = group_of(job_id)
            await self.channel_layer.group_add(self._group, self.channel_name)
            state = await control.astate(job_id) or state  # nothing is missed between
        self._is_told = asyncio.Event()
        self._watching = asyncio.create_task(self._watch(state))

    async def job_changed(self, event: dict[str, Any]) -> None:
        """The channel layer says that there is a new state."""
        if self._watching is not None:
            self._is_told.set()

    async def disconnect(self, code: int) -> None:
        watching, self._watching = self._watching, None
        try:
            if watching is not None:
                watching.cancel()
                await settled([watching])
        finally:
            if self._group is not None:
                await self.channel_layer.group_discard(self._group, self.channel_name)

    async def _watch(self, first: State) -> None:
        state: State | None = first
        told: State | None = None
        pause_s = FAR_S if self._group is None else WITH_LAYER_S
        while state is not None:
            if state != told:
                told = state
                await self.send_json(state.public())
                if state.is_finished:
                    break
            scope.rest()  # one socket of many must not keep a connection meanwhile
            try:
                async with asyncio.timeout(pause_s):
                    await self._is_told.wait()
            except TimeoutError:
                pass
            self._is_told.clear()
            try:
                state = await control.astate(first.id)
            except Exception:
                logger.exception(
                    "How far job %s is cannot be read; it is tried again.", first.id
                )
        await self.close(1000)
