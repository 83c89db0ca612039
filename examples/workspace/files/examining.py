"""What a job finds out about a file after its upload. It may be done again at any time."""

import asyncio
import hashlib
import logging
from functools import partial
from typing import Any

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

import onloop.files
from files import storing, thumbnails
from files.models import StoredFile
from onloop.tasks import progress

logger = logging.getLogger(__name__)

CHUNK = 64 * 1024


async def examine(pk: Any, *, tell: bool = True) -> None:
    """Write down the checksum, and make pictures of an image.

    ``tell``: the calling job is about this file alone, and reports how far it is. Nothing
    happens to a file that is deleted meanwhile.
    """
    file = await StoredFile.objects.filter(pk=pk).afirst()
    if file is None:
        return
    try:
        digest = await checksum(file, tell=tell)
    except FileNotFoundError:
        logger.warning("File %s is not in the storage any more.", pk)
        return
    pictures = None
    if thumbnails.can_have_one(file.media_type):
        pictures = await asyncio.to_thread(thumbnails.make, file.content.name)
    try:
        if pictures is None:
            await write(file, digest)
            return
        thumbnail, preview = (
            storing.saved(file.owner_id, ContentFile(each)) for each in pictures
        )
        async with thumbnail as small, preview as large:
            await write(file, digest, small, large)
    except StoredFile.DoesNotExist:
        logger.info("File %s has been deleted meanwhile.", pk)


async def checksum(file: StoredFile, *, tell: bool) -> str:
    digest, done = hashlib.sha256(), 0
    async with await onloop.files.storage().aopen(file.content.name) as content:
        async for chunk in content.achunks(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if tell:
                await progress(done, file.size, file.name)
    return digest.hexdigest()


@transaction.atomic
async def write(file: StoredFile, digest: str, thumbnail: str = "", preview: str = "") -> None:
    """Raises ``StoredFile.DoesNotExist``."""
    row = await StoredFile.objects.select_for_update().aget(pk=file.pk)
    for earlier in (row.thumbnail, row.preview):
        if earlier:  # it is examined once more
            delete = partial(onloop.files.storage().adelete, earlier.name)
            transaction.on_commit(delete, robust=True)
    row.sha256, row.examined = digest, timezone.now()
    row.thumbnail, row.preview = thumbnail, preview
    await row.asave(update_fields=["sha256", "thumbnail", "preview", "examined"])
