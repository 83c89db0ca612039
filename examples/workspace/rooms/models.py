"""Who may read and write where. Messages and who is present are in ``onloop.rooms``."""

from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver


class Room(models.Model):
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=80)
    topic = models.CharField(max_length=200, blank=True)
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


@receiver(post_delete, sender=Membership)
def close_sockets(instance: Membership, **kwargs: Any) -> None:
    """Whoever is no member any more does not go on listening."""
    from rooms import services

    slug, user = instance.room.slug, instance.user_id
    transaction.on_commit(lambda: services.send_away(slug, user))
