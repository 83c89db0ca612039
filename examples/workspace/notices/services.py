"""Telling users what happened. Called by all apps, knows none of them.

Of what somebody has read only the newest are kept, and that is seen to when something is read:
nothing else makes a notice superfluous. Where notices are written it would be wrong: that is
part of others' transactions, which tell many users, and would lock rows of all of them.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.text import Truncator

import onloop.rooms
from notices.models import MAX_TEXT, Notice
from onloop.rooms.errors import AnnounceFailed

logger = logging.getLogger(__name__)


class UnknownNotice(Exception):
    pass


def inbox_of(user: object) -> str:
    """The name that what is for one user has in ``onloop.rooms``; ``user`` is its id."""
    return f"user-{user}"


def unread_of(user: Any) -> QuerySet[Notice]:
    return Notice.objects.filter(user=user, read=None)


def number_unread(user: Any) -> Coalesce:
    """For queries: how many are unread; ``user`` is an ``OuterRef`` to its id."""
    each = unread_of(user).order_by().values("user").annotate(number=Count("pk"))
    return Coalesce(Subquery(each.values("number")), 0)


async def newest(user: Any, number: int) -> list[Notice]:
    return await Notice.objects.filter(user=user)[:number].alist()


async def notify(users: Iterable[Any], kind: Notice.Kind, text: str, path: str = "") -> None:
    """Save a notice for each of ``users`` (models or ids); on commit their bells ring.

    Part of the caller's transaction: what is rolled back was never told.
    """
    ids = {getattr(user, "pk", user) for user in users}
    short = Truncator(text).chars(MAX_TEXT)
    async with transaction.atomic():
        await Notice.objects.abulk_create(
            Notice(user_id=pk, kind=kind, text=short, path=path) for pk in sorted(ids)
        )
        transaction.on_commit(partial(_ring, ids))


async def mark_read(user: Any, up_to: int) -> None:
    """Those up to the notice with this id."""
    if await unread_of(user).filter(pk__lte=up_to).aupdate(read=timezone.now()):
        await _ring([user.pk])
        await _forget_old(user)


async def read_one(user: Any, pk: int) -> Notice:
    """The user's notice with this id, which is read from now on. Raises ``UnknownNotice``."""
    notice = await Notice.objects.filter(user=user, pk=pk).afirst()
    if notice is None:
        raise UnknownNotice
    if await unread_of(user).filter(pk=pk).aupdate(read=timezone.now()):
        await _ring([user.pk])
        await _forget_old(user)
    return notice


async def _forget_old(user: Any) -> None:
    """Delete what the user has read and is not among the newest; what is unread stays.

    Who reads in two windows at once waits for neither: rows that one of them has locked are
    left to it, so they never wait for each other.
    """
    kept = Notice.objects.filter(user=user).values("pk")[: settings.NOTICES_KEPT]
    old = Notice.objects.filter(user=user, read__isnull=False).exclude(pk__in=kept)
    free = old.select_for_update(skip_locked=True).values_list("pk", flat=True)
    async with transaction.atomic():
        if locked := await free.alist():
            await Notice.objects.filter(pk__in=locked).adelete()


async def _ring(users: Iterable[int]) -> None:
    """The pages that are open ask how many are unread; others see it when they are opened."""
    try:
        await onloop.rooms.aannounce([inbox_of(user) for user in users], "notices")
    except AnnounceFailed:
        logger.warning("Bells are late: the channel layer is away.")
