"""Who is in a room, and what it is called. No HTTP in here: what goes wrong is told by the
errors. Whoever is concerned is told on commit; their open pages then look anew."""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils import timezone

import onloop.rooms
from accounts.models import Role
from accounts.roles import has_role, require
from notices.models import Notice
from notices.services import inbox_of, notify
from onloop.rooms.errors import AnnounceFailed
from onloop.rooms.models import Room as Log
from rooms.errors import BadRequest, NotAllowed, NotAMember
from rooms.models import Membership, Room
from rooms.naming import log_of, slugs_for

logger = logging.getLogger(__name__)


def may_manage(user: Any, room: Room, *, is_member: bool) -> bool:
    """Owners manage all rooms; members those that they have made, while they are in them."""
    if has_role(user, Role.OWNER):
        return True
    return room.creator_id == user.pk and is_member and has_role(user, Role.MEMBER)


def rooms_to_join(user: Any) -> QuerySet[Room]:
    """Open rooms that the user is not in."""
    found = Room.objects.filter(is_open=True, archived=None).exclude(members=user)
    return found.annotate(people=Count("memberships"))


def rooms_by_invitation(user: Any) -> QuerySet[Room]:
    """What only owners are shown: rooms that they are not in, to manage them."""
    if not has_role(user, Role.OWNER):
        return Room.objects.none()
    return Room.objects.exclude(members=user).exclude(is_open=True, archived=None)


@transaction.atomic
async def create(user: Any, values: dict[str, Any]) -> Room:
    """A room of the user's, who is its first member. ``values`` are name, topic and is_open."""
    require(user, Role.MEMBER)
    for slug in slugs_for(values["name"]):
        # Two rooms of one name at once: the second waits for the first, and has the next slug.
        room, created = await Room.objects.aget_or_create(
            slug=slug, defaults={**values, "creator": user}
        )
        if created:
            await _add(room, user)
            return room
    raise BadRequest("There are many rooms of this name. Choose another.")


async def managed(user: Any, slug: str) -> Room:
    """The room, locked until the caller's transaction ends, for somebody who manages it.

    Raises ``NotAMember`` to those who need not know of it, otherwise ``NotAllowed``.
    """
    room = await Room.objects.select_for_update().filter(slug=slug).afirst()
    is_member = room is not None and await room.memberships.filter(user=user).aexists()
    if room is None or not (is_member or has_role(user, Role.OWNER)):
        raise NotAMember
    if not may_manage(user, room, is_member=is_member):
        raise NotAllowed("Rooms are managed by those who made them, and by owners.")
    return room


async def members_of(user: Any, slug: str) -> tuple[Room, QuerySet[Membership]]:
    """A room and who is in it, by user name, for its members and for owners.

    Raises ``NotAMember`` to everybody else.
    """
    room = await Room.objects.filter(slug=slug).select_related("creator").afirst()
    if room is None:
        raise NotAMember
    found = room.memberships.select_related("user__profile").order_by("user__username", "pk")
    if not (has_role(user, Role.OWNER) or await found.filter(user=user).aexists()):
        raise NotAMember
    return room, found


@transaction.atomic
async def join(user: Any, slug: str) -> Room:
    """Guests join too, to read. Raises ``NotAMember`` unless the room is open."""
    require(user, Role.GUEST)
    rooms = Room.objects.select_for_update().filter(slug=slug, is_open=True, archived=None)
    if (room := await rooms.afirst()) is None:
        raise NotAMember
    await _add(room, user)
    return room


@transaction.atomic
async def leave(user: Any, slug: str) -> None:
    """Nothing happens to who is no member."""
    rows = Membership.objects.filter(user=user, room__slug=slug)
    if (member := await rooms_of(rows).afirst()) is not None:
        await _remove(member)


@transaction.atomic
async def invite(user: Any, slug: str, name: str) -> Membership:
    """Add somebody, by user name. Raises ``BadRequest`` too."""
    room = await managed(user, slug)
    guest = await _find(name.strip().removeprefix("@"))
    if not await _add(room, guest):
        raise BadRequest(f"{guest} is in this room already.")
    if guest.pk != user.pk:
        text = f"{user} has added you to the room “{room}”."
        await notify([guest], Notice.Kind.ROOM, text, reverse("room", args=[slug]))
    return await room.memberships.select_related("user__profile").aget(user=guest)


@transaction.atomic
async def remove(user: Any, slug: str, pk: int) -> Room:
    """Take somebody out, by the membership's id; nothing happens if that is gone."""
    room = await managed(user, slug)
    if (member := await rooms_of(room.memberships.filter(pk=pk)).afirst()) is not None:
        await _remove(member)
        if member.user_id != user.pk:
            text = f"{user} has taken you out of the room “{room}”."
            await notify([member.user_id], Notice.Kind.ROOM, text, reverse("rooms"))
    return room


@transaction.atomic
async def change(user: Any, slug: str, values: dict[str, Any]) -> Room:
    """Give it another name or topic, open or close it. Its address stays as it is."""
    room = await managed(user, slug)
    for name, value in values.items():
        setattr(room, name, value)
    await room.asave(update_fields=list(values))
    await _tell_all_of(room)
    return room


@transaction.atomic
async def archive(user: Any, slug: str, *, archived: bool) -> Room:
    """End the writing in a room, or have it begin anew."""
    room = await managed(user, slug)
    room.archived = timezone.now() if archived else None
    await room.asave(update_fields=["archived"])
    await _tell_all_of(room)
    return room


async def _find(name: str) -> Any:
    if "\0" in name or len(name) > 150:  # PostgreSQL cannot be asked for the first
        raise BadRequest("Nobody here has such a user name. Choose one of the list.")
    users = get_user_model().objects.filter(is_active=True, username__iexact=name)
    found = {user.get_username(): user async for user in users}
    if len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise BadRequest(f"Nobody here has the user name “{name}”. Choose one of the list.")
    return found[name]


def rooms_of(memberships: QuerySet[Membership]) -> QuerySet[Membership]:
    return memberships.select_related("room")


async def _add(room: Room, user: Any) -> bool:
    """What was said before counts as read: it is no news. False if the user is in it."""
    last = (
        await Log.objects.filter(name=log_of(room.slug)).values_list("last", flat=True).afirst()
    )
    _, created = await Membership.objects.aget_or_create(
        room=room, user=user, defaults={"read": last or 0}
    )
    if created:
        transaction.on_commit(partial(_tell, [user.pk]))
    return created


async def _remove(member: Membership) -> None:
    user = member.user_id
    await member.adelete()  # which closes sockets, see ``models``
    transaction.on_commit(partial(_tell, [user]))


async def _tell_all_of(room: Room) -> None:
    users = await room.memberships.values_list("user_id", flat=True).alist()
    transaction.on_commit(partial(_tell, users, room.slug))


async def _tell(users: Iterable[int], changed: str = "") -> None:
    """Lists of rooms that are open look anew, and the pages of a room that has changed."""
    try:
        if changed:
            await onloop.rooms.aannounce(log_of(changed), "changed")
        await onloop.rooms.aannounce([inbox_of(user) for user in users], "membership")
    except AnnounceFailed:
        logger.warning("Open pages show rooms as they were: the channel layer is away.")
