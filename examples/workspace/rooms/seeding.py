"""Rooms with a past for ``manage.py seed``."""

import datetime
import random
import re
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone

from files.models import StoredFile
from onloop.rooms.models import Message
from onloop.rooms.models import Room as Log
from rooms import attachments
from rooms.mentions import names_in
from rooms.models import Attachment, Membership, Room
from rooms.naming import log_of

Said = tuple[Any, str, datetime.datetime]  # sender, text, when


def talk(script: str, users: dict[str, Any], rng: random.Random) -> list[Said]:
    """A conversation, a line each, which has just ended."""
    moment, said = timezone.now(), []
    for line in reversed(script.strip().splitlines()):
        name, text = line.split(": ", 1)
        moment -= datetime.timedelta(minutes=rng.choice([1, 1, 2, 3, 5, 8, 40, 90]))
        said.append((users[name], text, moment))
    return said[::-1]


def make_room(values: dict[str, Any], users: list[Any], said: list[Said]) -> Room:
    """A room whose members have read everything; the first of them has made it."""
    room = Room.objects.create(creator=users[0], **values)
    names = [user.get_username() for user in users]
    log = Log.objects.create(name=log_of(room.slug), last=len(said))
    Message.objects.bulk_create(
        Message(
            room=log,
            number=number,
            sender=sender,
            body=body_of(room, sender, text, names) if sender else {"text": text},
            created=created,
        )
        for number, (sender, text, created) in enumerate(said, 1)
    )
    Membership.objects.bulk_create(
        Membership(room=room, user=user, read=len(said)) for user in users
    )
    return room


def body_of(room: Room, sender: Any, text: str, names: list[str]) -> dict[str, Any]:
    """As ``services.post`` saves it; “[name]” at the end is a file of the sender's."""
    body: dict[str, Any] = {}
    if match := re.search(r" \[(\S+)\]$", text):
        text = text[: match.start()]
        if file := StoredFile.objects.filter(owner=sender, name=match[1]).first():
            shown = Attachment.objects.create(room=room, file=file)
            body["files"] = [attachments.told(shown, file)]
    if mentioned := names_in(text, names):
        body["mentions"] = mentioned
    return body | {"text": text}


def make_colleagues(names: list[str]) -> dict[str, Any]:
    """Accounts that nobody can log in to, until they are given a password."""
    users = get_user_model().objects
    return {name: users.get_or_create(username=name)[0] for name in names}
