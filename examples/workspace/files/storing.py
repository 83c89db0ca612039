"""Files come and go. No HTTP in here: what goes wrong is told by the errors.

The bytes are saved first, then the row; so a row never tells of bytes that are not there. What
was saved for a row that did not come about is taken away again.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, transaction
from django.db.models import Count, Q, Sum
from django.urls import reverse

import onloop.files
from accounts.models import Role
from accounts.roles import has_role, require
from files.models import StoredFile
from files.naming import media_type
from notices.models import Notice
from notices.services import notify
from onloop import bridge
from onloop.tasks import owned_by

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
MAX_BYTES = 50 * MIB
MAX_FILES = 1_000
MAX_BYTES_IN_ALL = 500 * MIB


class NoRoom(Exception):
    """Its text is for whoever wanted to store something."""


async def store(owner: Any, name: str, content: Any) -> StoredFile:
    """Save a file of ``owner``'s; ``name`` is clean.

    Raises ``NoRoom``, and ``PermissionDenied`` to guests, who keep no files.
    """
    await bridge.run(require, owner, Role.MEMBER)  # a query, and the caller any coroutine
    await check_room(owner.pk)  # before all of it is read
    async with saved(owner.pk, content) as key:
        return await record(owner.pk, name, key)


@asynccontextmanager
async def saved(owner_id: Any, content: Any) -> AsyncIterator[str]:
    """Save bytes for a row that is written in the block; if it is not, they are gone again."""
    storage = onloop.files.storage()
    key = await storage.asave(f"files/{owner_id}/{uuid.uuid4().hex}", content)
    try:
        yield key
    except BaseException:
        # It ends though the task is cancelled once more.
        await asyncio.shield(asyncio.ensure_future(_drop(key)))
        raise


async def _drop(key: str) -> None:
    """Delete bytes that no row tells of. A commit may have been done before the error came."""
    told_of = StoredFile.objects.filter(Q(content=key) | Q(thumbnail=key) | Q(preview=key))
    try:
        if not await told_of.aexists():
            await onloop.files.storage().adelete(key)
    except (DatabaseError, OSError):
        logger.exception("%s stays in the storage: nobody knows whether it is needed.", key)


async def record(owner_id: Any, name: str, key: str) -> StoredFile:
    """Write the row of a file whose bytes are saved as ``key``; on commit it is examined.

    Raises ``NoRoom``, and ``PermissionDenied`` to a guest. The owner's row is locked, so that
    two uploads at once cannot share the last room; call it late in a transaction.
    """
    size = await onloop.files.storage().asize(key)
    async with transaction.atomic():
        owners = get_user_model().objects.select_for_update(no_key=True, of=["self"])
        owner = await owners.select_related("profile").aget(pk=owner_id)
        require(owner, Role.MEMBER)  # as of now: an upload may take long
        await check_room(owner_id, size)
        file = await StoredFile.objects.acreate(
            owner_id=owner_id, name=name, content=key, size=size, media_type=media_type(name)
        )
        transaction.on_commit(partial(_have_examined, file))
    return file


async def delete(user: Any, pk: uuid.UUID) -> bool:
    """Delete a file of the user's, or of somebody's whose files the user takes away as an owner
    of the workspace. Returns whether it was the user's; raises ``StoredFile.DoesNotExist``."""
    files = StoredFile.objects.all()
    if not has_role(user, Role.OWNER):
        files = files.filter(owner=user)
    async with transaction.atomic():
        file = await files.aget(pk=pk)
        await file.adelete()
        if file.owner_id == user.pk:
            return True
        text = f"{user} has deleted your file “{file.name}”."
        await notify([file.owner_id], Notice.Kind.FILE, text, reverse("files"))
    logger.info("%s has deleted file %s of user %s.", user, pk, file.owner_id)
    return False


async def check_room(owner_id: Any, size: int = 1) -> None:
    """Raises ``NoRoom``."""
    files = StoredFile.objects.filter(owner=owner_id)
    used = await files.aaggregate(number=Count("pk"), size=Sum("size", default=0))
    if used["number"] >= MAX_FILES:
        raise NoRoom(f"You have {MAX_FILES} files, which is as many as there may be.")
    if used["size"] + size > MAX_BYTES_IN_ALL:
        raise NoRoom(f"All files together have at most {MAX_BYTES_IN_ALL // MIB} MiB.")


async def _have_examined(file: StoredFile) -> None:
    """The file is there, whatever comes of this: a report examines what has not been yet."""
    from files.tasks import examine

    try:
        with owned_by(file.owner_id):
            await examine.aenqueue(str(file.pk))
    except Exception:  # too many jobs wait, the broker is away, …
        logger.exception("File %s is not examined yet.", file.pk)
