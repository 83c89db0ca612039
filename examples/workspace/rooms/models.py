"""Who may read and write where, and which files were shown there. Messages and who is present
are in ``onloop.rooms``."""

import uuid
from functools import partial
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver

from files.models import StoredFile


class Room(models.Model):
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=80)
    topic = models.CharField(max_length=200, blank=True)
    # Whoever likes may join; into others people are invited.
    is_open = models.BooleanField("open to everybody", default=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="rooms_created",
    )
    # From then on it is read, and nobody writes in it.
    archived = models.DateTimeField(null=True, blank=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="rooms"
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """Somebody is a member of a room, and has read its messages up to a number."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    read = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["room", "user"]
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"

    @property
    def unread(self) -> int:
        """Of a membership from ``services.memberships_of``, which has ``last``."""
        return max(0, self.last - self.read)


class Attachment(models.Model):
    """A file was shown in a room. Its name and size are in the message; when the file is
    deleted, this row stays and has none."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="attachments")
    file = models.ForeignKey(
        StoredFile, on_delete=models.SET_NULL, null=True, related_name="attachments"
    )

    def __str__(self) -> str:
        return f"{self.file or 'A deleted file'} in {self.room}"


@receiver(post_delete, sender=Membership)
def close_sockets(instance: Membership, **kwargs: Any) -> None:
    """Whoever is no member any more does not go on listening."""
    from rooms import services

    slug, user = instance.room.slug, instance.user_id
    transaction.on_commit(lambda: services.send_away(slug, user))


@receiver(pre_delete, sender=StoredFile)
def tell_that_it_goes(instance: StoredFile, **kwargs: Any) -> None:
    """Rooms that show a file say so when it is gone. ``files`` holds its lock by now."""
    from rooms import attachments

    if shown := attachments.where(instance):
        transaction.on_commit(partial(attachments.tell, shown, gone=True), robust=True)


@receiver(post_save, sender=StoredFile)
def tell_of_thumbnail(
    instance: StoredFile, update_fields: frozenset[str] | None, **kwargs: Any
) -> None:
    """A message may be older than the small picture of its file, which a job makes."""
    from rooms import attachments

    if "thumbnail" in (update_fields or ()) and instance.thumbnail:
        # Where it is shown is asked on commit: who attaches it later finds the thumbnail.
        transaction.on_commit(
            lambda: attachments.tell(attachments.where(instance), thumbnail=True), robust=True
        )
