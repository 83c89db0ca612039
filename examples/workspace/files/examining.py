"""What a job finds out about a file after its upload. It may be done again at any time."""

import hashlib
import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

import onloop.files
from files.models import StoredFile
from onloop.tasks import progress

logger = logging.getLogger(__name__)

CHUNK = 64 * 1024


async def examine(pk: Any, *, tell: bool = True) -> None:
    """Write down the checksum. Nothing happens to a file that has been deleted meanwhile.

    ``tell``: the calling job is about this file alone, and reports how far it is.
    """
    file = await StoredFile.objects.filter(pk=pk).afirst()
    if file is None:
        return
    try:
        digest = await checksum(file, tell=tell)
    except FileNotFoundError:
        logger.warning("File %s is not in the storage any more.", pk)
        return
    await _write(file, sha256=digest)


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
async def _write(file: StoredFile, **found: Any) -> None:
    rows = StoredFile.objects.filter(pk=file.pk)
    await rows.aupdate(examined=timezone.now(), **found)
