"""The models of rooms: a room's counter, its messages, and who is there by which process.

A room's messages are numbered 1, 2, 3, … in the order in which they are committed. Whoever has
seen number 8 and everything before it will never find a 7 that was not there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router, transaction
from django.db.models import F
from django.utils import timezone

from onloop.rooms import wire


class Room(models.Model):
    """A room that something was sent to, and the number of its last message."""

    name: models.CharField[str, str] = models.CharField(
        max_length=wire.MAX_NAME, unique=True, editable=False
    )
    last: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(
        default=0, editable=False
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class MessageManager(models.Manager["Message"]):
    def append(
        self, room: str, body: Any, sender: Any = None, key: str | None = None
    ) -> Message:
        """Save a message with the room's next number, inside a transaction.

        One of the same sender that has this `key` already is returned, as `repeated`, and
        nothing is saved.

        The room's row stays locked until the transaction ends. So the next number is given out
        when this one is committed, or rolled back and free again: numbers have the order of
        commits, and no gaps.
        """
        alias = router.db_for_write(self.model)
        rooms = Room.objects.using(alias)
        with transaction.atomic(using=alias):
            counted = rooms.filter(name=room).update(last=F("last") + 1)
            if not counted:
                rooms.get_or_create(name=room)
                rooms.filter(name=room).update(last=F("last") + 1)
            pk, number = rooms.values_list("pk", "last").get(name=room)
            if key is not None:  # looked for behind the lock, so one cannot overtake another
                known = self.using(alias).select_related("sender")
                found = known.filter(room_id=pk, sender=sender, key=key).first()
                if found is not None:
                    rooms.filter(pk=pk).update(last=F("last") - 1)
                    found.repeated = True
                    return found
            return self.using(alias).create(
                room_id=pk, number=number, body=body, sender=sender, key=key
            )

    def page(
        self,
        room: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        using: str | None = None,
    ) -> list[Message]:
        """At most `limit` messages in their order: the first after, or the last before."""
        found = self.using(using).filter(room__name=room).select_related("sender")
        if after is not None:
            return list(found.filter(number__gt=after).order_by("number")[:limit])
        if before is not None:
            found = found.filter(number__lt=before)
        return list(found.order_by("-number")[:limit])[::-1]


class Message(models.Model):
    """A message of a room. `body` is what was sent: anything that JSON can say."""

    room: models.ForeignKey[Any, Any] = models.ForeignKey(
        Room, on_delete=models.CASCADE, related_name="messages", editable=False
    )
    number: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(
        editable=False
    )
    sender: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    body: models.JSONField = models.JSONField(encoder=DjangoJSONEncoder)
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        default=timezone.now, editable=False
    )

    # What the sender calls it, so that it is saved once though it is sent twice.
    key: models.CharField[str | None, str | None] = models.CharField(
        max_length=wire.MAX_KEY, null=True, default=None, editable=False
    )
    # Whether `send` has found it, and not saved it.
    repeated = False

    objects = MessageManager()

    class Meta:
        ordering = ["room", "number"]
        constraints = [
            models.UniqueConstraint(
                fields=["room", "sender", "key"],
                condition=models.Q(key__isnull=False),
                name="onloop_rooms_message_key",
            ),
            models.UniqueConstraint(
                fields=["room", "number"], name="onloop_rooms_message_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.room}: {self.number}"


class Server(models.Model):
    """An event loop with sockets in rooms. It says every few seconds that it lives."""

    key: models.CharField[str, str] = models.CharField(max_length=32, primary_key=True)
    seen: models.DateTimeField[datetime, datetime] = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class Presence(models.Model):
    """Somebody is in a room, by one socket or more of a server."""

    server: models.ForeignKey[Any, Any] = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="presences"
    )
    room: models.CharField[str, str] = models.CharField(max_length=wire.MAX_NAME)
    who: models.CharField[str, str] = models.CharField(max_length=wire.MAX_NAME)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["room", "who", "server"], name="onloop_rooms_presence_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.who} in {self.room}"
