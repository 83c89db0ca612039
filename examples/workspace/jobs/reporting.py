"""Figures about the owner's files: how many, how large, which kinds, which are the same."""

import asyncio
from typing import Any

from django.db.models import Count, Sum

from files.examining import examine
from files.models import StoredFile
from jobs.attempts import Attempt, step
from jobs.models import Work

MAX_DUPLICATES = 50


async def run(attempt: Attempt, work: Work) -> None:
    files = StoredFile.objects.filter(owner=work.owner_id)
    waiting = await files.filter(examined=None).values_list("pk", flat=True).alist()
    for number, pk in enumerate(waiting):
        await step(number, len(waiting) + 1, "Looking into the newest files")
        await examine(pk, tell=False)
    await step(len(waiting), len(waiting) + 1, "Counting")
    # Three queries at once, each on a connection of its own.
    totals, kinds, duplicates = await asyncio.gather(
        files.aaggregate(number=Count("pk"), bytes=Sum("size", default=0)),
        _kinds(work.owner_id),
        _duplicates(work.owner_id),
    )
    async with attempt.writing():
        await attempt.note(result={**totals, "kinds": kinds, "duplicates": duplicates})
    await step(len(waiting) + 1, len(waiting) + 1, f"{totals['number']} files")


async def _kinds(owner_id: Any) -> list[dict[str, Any]]:
    files = StoredFile.objects.filter(owner=owner_id).order_by()
    kinds = files.values("media_type").annotate(number=Count("pk"), bytes=Sum("size"))
    return await kinds.order_by("-bytes", "media_type").alist()


async def _duplicates(owner_id: Any) -> list[list[str]]:
    """The names of files with the same content, largest first."""
    files = StoredFile.objects.filter(owner=owner_id).exclude(sha256="")
    doubled = (
        files.order_by().values("sha256").annotate(number=Count("pk")).filter(number__gt=1)
    )
    same: dict[str, list[str]] = {}
    rows = files.filter(sha256__in=doubled.values("sha256")).order_by("-size", "sha256", "name")
    async for digest, name in rows.values_list("sha256", "name"):
        same.setdefault(digest, []).append(name)
    return list(same.values())[:MAX_DUPLICATES]
