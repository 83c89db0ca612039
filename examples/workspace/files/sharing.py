"""Links to files, for whoever has them. No HTTP in here: what goes wrong is told by errors."""

import datetime
import uuid
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Role
from accounts.roles import require
from files.models import ShareLink, StoredFile

# Hours, and what they are called in the form.
CHOICES = {"1": "An hour", "24": "A day", "168": "A week", "720": "30 days"}


class BadExpiry(Exception):
    pass


class LinkIsOver(Exception):
    """It has expired, or was revoked."""

    def __init__(self, link: ShareLink) -> None:
        super().__init__("expired" if link.revoked is None else "revoked")


@transaction.atomic
async def share(user: Any, pk: uuid.UUID, hours: object) -> ShareLink:
    """A new link to a file of the user's; ``hours`` is one of ``CHOICES``.

    Raises ``PermissionDenied``, ``StoredFile.DoesNotExist`` and ``BadExpiry``.
    """
    require(user, Role.MEMBER)
    if not isinstance(hours, str) or hours not in CHOICES:
        raise BadExpiry
    # Locked: whoever deletes the file waits, and takes the link away with it.
    files = StoredFile.objects.select_for_update(no_key=True)
    file = await files.aget(pk=pk, owner=user)
    expires = timezone.now() + datetime.timedelta(hours=int(hours))
    return await ShareLink.objects.acreate(file=file, expires=expires)


async def revoke(file: StoredFile, pk: uuid.UUID) -> None:
    await ShareLink.objects.filter(file=file, pk=pk, revoked=None).aupdate(
        revoked=timezone.now()
    )


async def follow(pk: uuid.UUID) -> ShareLink:
    """The link with its file. Raises ``ShareLink.DoesNotExist`` and ``LinkIsOver``.

    Links of an account that was closed lead nowhere.
    """
    links = ShareLink.objects.filter(file__owner__is_active=True)
    link = await links.select_related("file__owner").aget(pk=pk)
    if not link.works:
        raise LinkIsOver(link)
    return link


async def count(link: ShareLink) -> None:
    """One download more; several at once are all counted."""
    await ShareLink.objects.filter(pk=link.pk).aupdate(downloads=F("downloads") + 1)
