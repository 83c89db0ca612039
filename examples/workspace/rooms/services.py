"""What happens in rooms. No HTTP and no sockets in here: what goes wrong is told by the errors.

``onloop.rooms`` numbers the messages of a room 1, 2, 3, … in the order of their commits. So one
number a member says all that was read, and the difference to the last one what was not.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Concat
from django.urls import reverse

import onloop.rooms
from accounts.models import Role
from accounts.roles import has_role
from notices.models import Notice
from notices.services import inbox_of
from notices.services import notify as notify_users
from onloop.rooms.errors import AnnounceFailed
from onloop.rooms.models import Message
from onloop.rooms.models import Room as Log
from rooms import attachments, mentions
from rooms.errors import BadMessage, NotAllowed, NotAMember
from rooms.models import Membership, Room
from rooms.naming import log_of

logger = logging.getLogger(__name__)

MAX_TEXT = 2000
PAGE = 50
# New accounts are members of this room.
OPEN_ROOM = "general"

GUEST = "You are here as a guest. Guests read, and do not write."
ARCHIVED = "This room is archived. It can be read, and nobody writes in it."


def memberships_of(user: Any) -> QuerySet[Membership]:
    """Each with ``last``, the number of its room's newest message."""
    name = Concat(Value(log_of("")), OuterRef("room__slug"))
    last = Coalesce(Subquery(Log.objects.filter(name=name).values("last")[:1]), 0)
    found = Membership.objects.filter(user=user).select_related("room", "user__profile")
    return found.annotate(last=last).order_by("room__name")


def current_of(user: Any) -> QuerySet[Membership]:
    """As above, without rooms that are archived: of these nothing is counted as unread."""
    return memberships_of(user).filter(room__archived=None)


def number_unread(user: Any) -> Coalesce:
    """For queries: how many messages are unread; ``user`` is an ``OuterRef`` to its id."""
    behind = current_of(user).filter(read__lt=F("last")).order_by().values("user")
    number = Sum(F("last") - F("read"), output_field=BigIntegerField())
    return Coalesce(Subquery(behind.annotate(number=number).values("number")), 0)


async def unread_first(user: Any, number: int) -> list[Membership]:
    """The user's rooms, those with most to read first."""
    rooms = await current_of(user).alist()
    return sorted(rooms, key=lambda member: -member.unread)[:number]


async def membership(user: Any, slug: str) -> Membership:
    rows = memberships_of(user).filter(room__slug=slug, user__is_active=True)
    if (found := await rows.afirst()) is None:
        raise NotAMember
    return found


def why_silent(member: Membership) -> str:
    """Why a member may not write here; empty if there is no reason."""
    if member.room.archived:
        return ARCHIVED
    return "" if has_role(member.user, Role.MEMBER) else GUEST


async def writing(member: Membership) -> Membership:
    """The membership as it is now, locked until the caller's transaction ends.

    Raises ``NotAMember``, and ``NotAllowed``: a socket may be older than a change of the role.
    """
    rows = Membership.objects.select_for_update(of=["self"])
    now = await rows.select_related("room", "user__profile").filter(pk=member.pk).afirst()
    if now is None:
        raise NotAMember
    if reason := why_silent(now):
        raise NotAllowed(reason)
    return now


@dataclass(frozen=True)
class Draft:
    """What somebody wants to say; ``files`` are ids of files of the sender's."""

    text: str
    files: Sequence[uuid.UUID] = ()


def clean(text: object, files: object, *, uploads: bool = False) -> Draft:
    """What is to be said, from whatever a client sent. Raises ``BadMessage``.

    ``uploads``: there are more files, which are not stored yet.
    """
    text = text.replace("\r\n", "\n").strip() if isinstance(text, str) else ""
    ids = attachments.clean(files)
    if not (text or ids or uploads):
        raise BadMessage("Write something first.")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadMessage("That is no text.")
    if len(text) > MAX_TEXT:
        raise BadMessage(f"A message has at most {MAX_TEXT} characters.")
    return Draft(text, ids)


async def post(member: Membership, draft: Draft, key: str | None) -> Message:
    """Save a message, with its files and whom it means, and announce it on commit.

    A client that lost its connection does not know what arrived, and sends it again with the
    same ``key``: it is saved once. Raises ``NotAMember``, ``NotAllowed``, ``BadMessage``, and
    ``ValueError`` for what cannot be a key.
    """
    async with transaction.atomic():
        member = await writing(member)  # behind which its second copy waits for the first
        log = log_of(member.room.slug)
        known = await was_posted(member, key)
        meant, more = ([], {}) if known else await _extras(member, draft)
        body = {"text": draft.text, **more}
        message = await onloop.rooms.asend(log, body, sender=member.user, key=key)
        if not message.repeated:
            await _tell_mentioned(member, meant, message)
            transaction.on_commit(partial(_tell_members, member.room.slug, message.number))
        await mark_read(member, message.number)
    return message


async def was_posted(member: Membership, key: object) -> bool:
    """Whether the member's message with this key is saved."""
    if not (isinstance(key, str) and key.isprintable()):  # else ``onloop.rooms`` refuses it
        return False
    log = log_of(member.room.slug)
    earlier = Message.objects.filter(room__name=log, sender=member.user_id, key=key)
    return await earlier.aexists()


async def _extras(member: Membership, draft: Draft) -> tuple[list[Any], dict[str, Any]]:
    """Whom a new message means, and what is saved with its text."""
    more: dict[str, Any] = {}
    if shown := await attachments.attach(member.room, member.user, draft.files):
        more["files"] = shown
    meant = []
    if "@" in draft.text:
        users = {user.get_username(): user async for user in member.room.members.all()}
        if names := mentions.names_in(draft.text, users):
            more["mentions"] = names
            meant = [users[name] for name in names if users[name].pk != member.user_id]
    return meant, more


async def _tell_mentioned(member: Membership, users: list[Any], message: Message) -> None:
    if users:
        where = reverse("room-message", args=[member.room.slug, message.number])
        text = f"{member.user} in {member.room}: {message.body['text']}"
        await notify_users(users, Notice.Kind.MENTION, text, where)


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


def rooms_of(user: int) -> QuerySet[Room, str]:
    """The slugs of the rooms that a user is in."""
    return Room.objects.filter(memberships__user=user).values_list("slug", flat=True)


async def tell_role(user: int) -> None:
    """The sockets that a user has in rooms hear that the role has changed."""
    logs = [log_of(slug) for slug in await rooms_of(user).alist()]
    await onloop.rooms.aannounce(logs, "role", user=user)


async def mark_read(member: Membership, number: int) -> None:
    """Everything up to ``number`` was seen. It never goes back."""
    unread = Membership.objects.filter(pk=member.pk, read__lt=number)
    if await unread.aupdate(read=number):
        tell = partial(_tell, [member.user_id], member.room.slug, read=number)
        transaction.on_commit(tell)


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
        await onloop.rooms.aannounce(
            [inbox_of(user) for user in users], "unread", slug=slug, **numbers
        )
    except AnnounceFailed:
        logger.warning("Counters of room %r are late: the channel layer is away.", slug)
