"""Beginning work, ending it, and beginning it anew. No HTTP in here."""

import datetime
import logging
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import Role
from accounts.roles import require
from files.models import StoredFile
from jobs.models import Work
from jobs.states import Shown, shown
from onloop import bridge
from onloop.tasks import acancel, owned_by
from onloop.tasks.models import Job

logger = logging.getLogger(__name__)

MAX_GOING = 10
# A job that has not ended after so long belongs to a process that was killed.
FORGOTTEN = datetime.timedelta(hours=1)
# So long what has no job counts as being enqueued; later it is clear that it was not.
NOT_YET = datetime.timedelta(seconds=30)


class NotNow(Exception):
    """Its text is for whoever wanted it."""


def visible_to(user: Any) -> QuerySet[Work]:
    """One's own; the staff may look at all."""
    works = Work.objects.select_related("owner", "source", "outcome")
    return works if user.is_staff else works.filter(owner=user)


@transaction.atomic
async def begin(owner: Any, kind: str, source: StoredFile | None = None) -> Work:
    """Write down what is wanted; the job is enqueued on commit.

    Raises ``NotNow``, and ``PermissionDenied`` to guests: at the start, not when the job ends.
    """
    await bridge.run(require, owner, Role.MEMBER)  # a query, and the caller any coroutine
    # Of several that begin at once each counts those before it.
    await get_user_model().objects.select_for_update(no_key=True).only("pk").aget(pk=owner.pk)
    now = timezone.now()
    going = Job.objects.filter(finished=None, created__gt=now - FORGOTTEN)
    going = going.exclude(pk__in=Job.objects.lost().values("pk"))
    begun = Q(job__in=going.values("pk")) | Q(job="", created__gt=now - NOT_YET)
    if await Work.objects.filter(begun, owner=owner).acount() >= MAX_GOING:
        raise NotNow("Enough is going on. Wait for some of it to end.")
    work = await Work.objects.acreate(owner=owner, kind=kind, source=source)
    transaction.on_commit(partial(_enqueue, work))
    return work


async def retry(work: Work, attempt: int) -> None:
    """Begin it anew, if ``attempt`` is still the newest one. Raises ``NotNow``.

    What was given up because nothing was heard of it is cancelled, in case it goes on.
    """
    (now,) = await shown([work])
    if not now.may_retry:
        raise NotNow("It cannot be tried again as it is.")
    async with transaction.atomic():
        rows = Work.objects.filter(pk=work.pk, attempt=attempt)
        begun = {"attempt": F("attempt") + 1, "job": "", "problem": "", "result": None}
        if not await rows.aupdate(**begun):
            raise NotNow("It has been begun anew already.")
        await work.arefresh_from_db(fields=["attempt"])
        transaction.on_commit(partial(_enqueue, work))
    if now.job is not None and now.job.finished is None:
        await acancel(now.job.pk)


async def cancel(work: Work) -> bool:
    """Whether there was something to cancel."""
    return bool(work.job) and await acancel(work.job)


async def _enqueue(work: Work) -> None:
    """If this fails, the work is there without a job, and may be begun anew."""
    from jobs.tasks import OF_KIND

    try:
        with owned_by(work.owner_id):
            job = await OF_KIND[work.kind].aenqueue(work.pk, work.attempt)
    except Exception:  # too many jobs wait, the broker is away, …
        logger.exception("%s is not begun.", work)
        return
    await Work.objects.filter(pk=work.pk, attempt=work.attempt).aupdate(job=job.id)


async def under_way(user: Any) -> list[Shown]:
    """What of the user's waits or runs, the newest first."""
    going = Job.objects.filter(finished=None).values("pk")
    works = visible_to(user).filter(owner=user, job__in=going)[:MAX_GOING]
    return [one for one in await shown(await works.alist()) if one.is_going]


async def latest(user: Any, number: int = 30) -> list[Shown]:
    works = await visible_to(user).filter(owner=user)[:number].alist()
    return await shown(works)
