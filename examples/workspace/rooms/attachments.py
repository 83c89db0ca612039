"""Files that are shown in rooms: one's own, for all who are in the room.

What a message says of them (name, size, kind) is saved with it. Whether a file is still there,
and has a thumbnail by now, is asked each time.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from django.db import DatabaseError

import onloop.rooms
from files import storing
from files.models import StoredFile
from onloop.rooms.errors import AnnounceFailed
from rooms.errors import BadMessage, Gone, NotAMember
from rooms.models import Attachment, Room
from rooms.naming import log_of

logger = logging.getLogger(__name__)

AT_ONCE = 5

Shown = list[tuple[str, str]]  # the slug of a room, the id of an attachment


def clean(ids: object) -> list[uuid.UUID]:
    """The ids of files, from whatever a client sent. Raises ``BadMessage``."""
    if not isinstance(ids, list):
        raise BadMessage("Files are named by a list of their ids.")
    if len(ids) > AT_ONCE:
        raise BadMessage(f"A message has at most {AT_ONCE} files.")
    try:
        return list(dict.fromkeys(uuid.UUID(str(each)) for each in ids))
    except ValueError:
        raise BadMessage("A file is named by its id, which is a UUID.") from None


async def attach(room: Room, owner: Any, ids: Sequence[uuid.UUID]) -> list[dict[str, Any]]:
    """Show files of ``owner``'s in a room; returns what their message says of them.

    Part of the transaction that saves the message. The files are locked in it: one that is
    being deleted is either shown as deleted, or refused here. Raises ``BadMessage``.
    """
    if not ids:
        return []
    mine = StoredFile.objects.filter(owner=owner, pk__in=ids).order_by("pk")
    files = {file.pk: file for file in await mine.select_for_update(no_key=True).alist()}
    if len(files) < len(ids):
        raise BadMessage("That file is not among yours any more. Choose another.")
    rows = await Attachment.objects.abulk_create(
        Attachment(room=room, file=files[pk]) for pk in ids
    )
    return [told(row, files[pk]) for row, pk in zip(rows, ids, strict=True)]


@asynccontextmanager
async def uploaded(
    owner: Any, names: Sequence[str], contents: Sequence[Any]
) -> AsyncIterator[list[uuid.UUID]]:
    """Store files for a message that is posted in the block; what it does not show goes again.

    Whoever sends a form twice, or leaves before the message is saved, keeps no second copy.
    """
    stored: list[uuid.UUID] = []
    try:
        for name, content in zip(names, contents, strict=True):
            stored.append((await storing.store(owner, name, content)).pk)
        yield stored
    finally:
        if stored:
            # It ends though the task is cancelled once more.
            await asyncio.shield(asyncio.ensure_future(_drop_unshown(stored)))


async def _drop_unshown(ids: Sequence[uuid.UUID]) -> None:
    try:
        await StoredFile.objects.filter(pk__in=ids, attachments=None).adelete()
    except DatabaseError:
        logger.exception("Files %s stay with their owner, though no message shows them.", ids)


def told(shown: Attachment, file: StoredFile) -> dict[str, Any]:
    """What a message says of a file; it stays when the file is deleted."""
    return {
        "id": str(shown.pk),
        "name": file.name,
        "size": file.size,
        "media_type": file.media_type,
    }


async def find(user: Any, slug: str, pk: uuid.UUID) -> tuple[Room, StoredFile]:
    """A file for a member of the room that it was shown in.

    Raises ``NotAMember``, also where there is no such file, and ``Gone`` if it was deleted.
    """
    found = Attachment.objects.filter(pk=pk, room__slug=slug, room__memberships__user=user)
    shown = await found.select_related("room", "file__owner").afirst()
    if shown is None:
        raise NotAMember
    if shown.file is None:
        raise Gone
    return shown.room, shown.file


async def describe(bodies: Iterable[Any]) -> list[Any]:
    """The bodies of messages, each file in them with ``gone`` and ``thumbnail`` as of now."""
    bodies = list(bodies)
    ids = [file["id"] for body in bodies for file in body.get("files", ())]
    if not ids:
        return bodies
    rows = Attachment.objects.filter(pk__in=ids).values_list("pk", "file", "file__thumbnail")
    now = {str(pk): (file is None, bool(picture)) async for pk, file, picture in rows}

    def with_state(file: dict[str, Any]) -> dict[str, Any]:
        gone, thumbnail = now.get(file["id"], (True, False))
        return {**file, "gone": gone, "thumbnail": thumbnail}

    return [
        {**body, "files": [with_state(file) for file in body["files"]]}
        if body.get("files")
        else body
        for body in bodies
    ]


def where(file: StoredFile) -> Shown:
    """The rooms that show a file, each with the attachment's id."""
    rows = Attachment.objects.filter(file=file).values_list("room__slug", "pk")
    return [(slug, str(pk)) for slug, pk in rows]


def tell(shown: Shown, **state: bool) -> None:
    """The pages that are open show what has become of a file; others see it when they are."""
    try:
        for slug, pk in shown:
            onloop.rooms.announce(log_of(slug), "file", id=pk, **state)
    except AnnounceFailed:
        logger.warning("Rooms show a file as it was: the channel layer is away.")
