"""What users are told of: one row for each user and notice."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

MAX_TEXT = 200


class Notice(models.Model):
    class Kind(models.TextChoices):
        MENTION = "mention", "Mention"
        ROOM = "room", "Room"
        FILE = "file", "File"
        ORDER = "order", "Order"
        PANEL = "panel", "Panel"
        JOB = "job", "Job"
        ACCOUNT = "account", "Account"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices"
    )
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.CharField(max_length=MAX_TEXT)
    # Where it leads: a path of this service.
    path = models.CharField(max_length=300, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    read = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created", "-pk"]
        indexes = [
            models.Index(fields=["user", "-created", "-id"], name="notice_of_user"),
            # Each page counts them.
            models.Index(fields=["user"], condition=Q(read=None), name="notice_unread"),
        ]

    def __str__(self) -> str:
        return self.text
