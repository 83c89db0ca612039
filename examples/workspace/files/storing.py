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

import onloop.files
from files.models import StoredFile
from files.naming import media_type
from onloop.tasks import owned_by

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
MAX_BYTES = 50 * MIB
MAX_FILES = 1_000
MAX_BYTES_IN_ALL = 500 * MIB


class NoRoom(Exception):
    """Its text is for whoever wanted to store something."""


async def store(owner: Any, name: str, content: Any) -> StoredFile:
    """Save a file of ``owner``'s; ``name`` is clean. Raises ``NoRoom``."""
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
    told_of = StoredFile.objects.filter(Q(content=key) | Q(thumbnail=key))
    try:
        if not await told_of.aexists():
            await onloop.files.storage().adelete(key)
    except (DatabaseError, OSError):
        logger.exception("%s stays in the storage: nobody knows whether it is needed.", key)


async def record(owner_id: Any, name: str, key: str) -> StoredFile:
    """Write the row of a file whose bytes are saved as ``key``; on commit it is examined.

    Raises ``NoRoom``. The owner's row is locked, so that two uploads at once cannot share the
    last room; call it late in a transaction.
    """
    size = await onloop.files.storage().asize(key)
    async with transaction.atomic():
        await get_user_model().objects.select_for_update(no_key=True).aget(pk=owner_id)
        await check_room(owner_id, size)
        file = await StoredFile.objects.acreate(
            owner_id=owner_id, name=name, content=key, size=size, media_type=media_type(name)
        )
        transaction.on_commit(partial(_have_examined, file))
    return file


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
