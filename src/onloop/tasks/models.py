"""The last state of each job, so that it survives a reload of the page and of the process."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from onloop.tasks.jobstate import MAX_NOTE

STATUSES = ("READY", "RUNNING", "SUCCESSFUL", "FAILED", "CANCELLED")


class Job(models.Model):
    """A job as it was when this was written; `updated` tells when.

    One whose process was killed stays RUNNING. Old rows are the project's to delete.
    """

    id: models.CharField[str, str] = models.CharField(
        max_length=64, primary_key=True, editable=False
    )
    name: models.CharField[str, str] = models.CharField(max_length=255, editable=False)
    status: models.CharField[str, str] = models.CharField(
        max_length=10, choices=[(each, each.capitalize()) for each in STATUSES]
    )
    done: models.FloatField[float, float] = models.FloatField(default=0)
    total: models.FloatField[float | None, float | None] = models.FloatField(
        null=True, blank=True
    )
    note: models.CharField[str, str] = models.CharField(max_length=MAX_NOTE, blank=True)
    owner: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    # Somebody has cancelled it; its process reads this when it next writes.
    stop: models.BooleanField[bool, bool] = models.BooleanField(default=False)
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(db_index=True)
    started: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    finished: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    updated: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        default=timezone.now
    )

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"
