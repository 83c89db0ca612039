"""What happens in rooms. No HTTP and no sockets in here: what goes wrong is told by the errors.

``onloop.rooms`` numbers the messages of a room 1, 2, 3, … in the order of their commits. So one
number a member says all that was read, and the difference to the last one what was not.
"""

import logging
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat

import onloop.rooms
from notices.services import inbox_of
from onloop.rooms.errors import AnnounceFailed
from onloop.rooms.models import Message
from onloop.rooms.models import Room as Log
from rooms.models import Membership, Room

logger = logging.getLogger(__name__)

MAX_TEXT = 2000
PAGE = 50
# A message that comes again is looked for among so many.
RECENT = 1000
# New accounts are members of this room.
OPEN_ROOM = "general"


class NotAMember(Exception):
    pass


class BadMessage(Exception):
    """Its text is for whoever wrote the message."""


def log_of(slug: str) -> str:
    """The name that a room's messages have in ``onloop.rooms``."""
    return f"chat-{slug}"


def memberships_of(user: Any) -> QuerySet[Membership]:
    """Each with ``last``, the number of its room's newest message."""
    name = Concat(Value(log_of("")), OuterRef("room__slug"))
    last = Coalesce(Subquery(Log.objects.filter(name=name).values("last")[:1]), 0)
    found = Membership.objects.filter(user=user).select_related("room", "user")
    return found.annotate(last=last).order_by("room__name")


async def membership(user: Any, slug: str) -> Membership:
    found = await memberships_of(user).filter(room__slug=slug).afirst()
    if found is None:
        raise NotAMember
    return found


def clean(text: object, ref: object) -> dict[str, str]:
    """The body of a message, from whatever a client sent. Raises ``BadMessage``."""
    text = text.replace("\r\n", "\n").strip() if isinstance(text, str) else ""
    if not text:
        raise BadMessage("Write something first.")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadMessage("That is no text.")
    if len(text) > MAX_TEXT:
        raise BadMessage(f"A message has at most {MAX_TEXT} characters.")
    try:
        return {"text": text, "ref": str(uuid.UUID(str(ref)))}
    except ValueError:
        raise BadMessage("A message needs a UUID as its reference.") from None


async def post(member: Membership, body: dict[str, str]) -> Message:
    """Save a message and announce it on commit; raises ``NotAMember``.

    A client that lost its connection does not know what arrived, and sends it again with the
    same ``ref``. The lock makes the second wait for the first, and find what that has saved.
    """
    log = log_of(member.room.slug)
    async with transaction.atomic():
        if await Membership.objects.select_for_update().filter(pk=member.pk).afirst() is None:
            raise NotAMember
        earlier = Message.objects.filter(
            room__name=log, number__gt=F("room__last") - RECENT, sender=member.user_id
        )
        if (message := await earlier.filter(body__ref=body["ref"]).afirst()) is None:
            message = await onloop.rooms.asend(log, body, sender=member.user)
            transaction.on_commit(partial(_tell_members, member.room.slug, message.number))
    await mark_read(member, message.number)
    return message


async def notify(slug: str, text: str) -> None:
    """A message of nobody: something happened elsewhere. Not an error where there is no room.

    The room stays locked until the caller's transaction ends: call it last.
    """
    async with transaction.atomic():
        if await Room.objects.filter(slug=slug).aexists():
            message = await onloop.rooms.asend(log_of(slug), {"text": text})
            transaction.on_commit(partial(_tell_members, slug, message.number))


async def welcome(user: Any) -> None:
    """A new account joins the room that is for everybody, where there is one."""
    async with transaction.atomic():
        if (room := await Room.objects.filter(slug=OPEN_ROOM).afirst()) is not None:
            last = await Log.objects.filter(name=log_of(room.slug)).afirst()
            await Membership.objects.aget_or_create(
                room=room, user=user, defaults={"read": last.last if last else 0}
            )


async def tell_role(user: int) -> None:
    """The sockets that a user has in rooms hear that the role has changed."""
    slugs = Room.objects.filter(memberships__user=user).values_list("slug", flat=True)
    for slug in await slugs.alist():
        await onloop.rooms.aannounce(log_of(slug), "role", user=user)


async def mark_read(member: Membership, number: int) -> None:
    """Everything up to ``number`` was seen. It never goes back."""
    unread = Membership.objects.filter(pk=member.pk, read__lt=number)
    if await unread.aupdate(read=number):
        await _tell([member.user_id], member.room.slug, read=number)


def send_away(slug: str, user: int) -> None:
    """Close the sockets of somebody who is no member any more."""
    try:
        onloop.rooms.announce(log_of(slug), "removed", user=user)
    except AnnounceFailed:
        logger.warning("The sockets of user %s in room %r stay open.", user, slug)


async def _tell_members(slug: str, last: int) -> None:
    members = Membership.objects.filter(room__slug=slug).values_list("user_id", flat=True)
    await _tell(await members.alist(), slug, last=last)


async def _tell(users: Sequence[int], slug: str, **numbers: int) -> None:
    """The lists of rooms that are open count anew; others do when they are opened.

    ``last`` and ``read`` only grow, so it does not matter which news comes first.
    """
    try:
        for user in users:
            await onloop.rooms.aannounce(inbox_of(user), "unread", slug=slug, **numbers)
    except AnnounceFailed:
        logger.warning("Counters of room %r are late: the channel layer is away.", slug)
