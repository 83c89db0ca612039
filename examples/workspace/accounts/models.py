"""What this service knows of a user beyond Django's own model."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.db import models, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from notices.sessions import mark_of


class Role(models.TextChoices):
    """What somebody may do here; each may do what the ones below it may.

    - an owner manages people, roles and rooms, and takes away what others have left;
    - a member writes in rooms, keeps files and starts jobs;
    - a guest reads, and orders from the catalogue.
    """

    OWNER = "owner", "Owner"
    MEMBER = "member", "Member"
    GUEST = "guest", "Guest"


class Profile(models.Model):
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="profile"
    )
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    about = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["user"]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()}"


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def end_sockets(instance: Any, created: bool, **kwargs: Any) -> None:
    """Whoever's account is closed, in the admin say, does not go on listening."""
    from accounts import services

    if not (created or instance.is_active):
        transaction.on_commit(partial(services.end_sockets, instance.pk), robust=True)


@receiver(user_logged_out)
def end_session(request: Any, user: Any, **kwargs: Any) -> None:
    """Whoever logs out does it in all tabs."""
    from accounts import services

    if user is not None and (mark := mark_of(request.session)):
        services.end_session(user.pk, mark)
