"""What this service knows of a user beyond Django's own model."""

from django.conf import settings
from django.db import models


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
