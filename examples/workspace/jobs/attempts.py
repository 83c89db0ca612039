"""One attempt at a piece of work, as the job sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from jobs.models import Work
from notices.models import Notice
from notices.services import notify
from onloop.tasks import progress


class Refused(Exception):
    """It cannot be done, and trying again would not help. Its text is for the owner."""


class Superseded(Exception):
    """The work was begun anew, or is there no more: this attempt must write nothing."""


async def step(done: float, total: float, note: str) -> None:
    """Report how far the job is, and rest for as long as the settings say."""
    await progress(done, total, note)
    if settings.JOBS_PAUSE_S:
        await asyncio.sleep(settings.JOBS_PAUSE_S)


@dataclass(frozen=True)
class Attempt:
    work_id: int
    number: int

    async def work(self) -> Work:
        """Raises ``Superseded``."""
        found = await Work.objects.filter(pk=self.work_id, attempt=self.number).afirst()
        if found is None:
            raise Superseded
        return found

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """A transaction in which nobody begins the work anew. Raises ``Superseded``."""
        async with transaction.atomic():
            rows = Work.objects.select_for_update()
            if await rows.filter(pk=self.work_id, attempt=self.number).afirst() is None:
                raise Superseded
            yield

    async def note(self, **values: Any) -> None:
        """Write what has come of it so far; in ``writing``."""
        await Work.objects.filter(pk=self.work_id).aupdate(**values)

    async def end(self, how: str, **values: Any) -> None:
        """Write the last of it, and tell the owner: once, though it may run again after a kill.

        Raises ``Superseded``.
        """
        async with self.writing():
            work = await Work.objects.aget(pk=self.work_id)
            await self.note(told=self.number, **values)
            if work.told < self.number:
                text = f"{work.get_kind_display()} {how}."
                where = reverse("work", args=[work.pk])
                await notify([work.owner_id], Notice.Kind.JOB, text, where)
