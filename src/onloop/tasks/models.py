"""The last state of each job, so that it survives a reload of the page and of the process."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from onloop.tasks.jobstate import FINISHED, LOST_S, MAX_NOTE

STATUSES = ("READY", "RUNNING", "SUCCESSFUL", "FAILED", "CANCELLED")


class JobQuerySet(models.QuerySet["Job"]):
    def lost(self) -> JobQuerySet:
        """Those without an end, of whose process nothing was heard for `LOST_S` seconds."""
        since = timezone.now() - timedelta(seconds=LOST_S)
        return self.exclude(status__in=FINISHED).exclude(worker="").filter(updated__lt=since)


class Job(models.Model):
    """A job as it was when this was written.

    `updated` tells when its process was last heard of. If nothing is heard any more, the row
    stays as it is: see `is_lost`. Old rows are the project's to delete.
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
    # The process that has it; nobody has what waits in a broker.
    worker: models.CharField[str, str] = models.CharField(max_length=255, blank=True)
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

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"

    @property
    def is_lost(self) -> bool:
        """Whether its process was not heard of for `LOST_S` seconds before its end.

        The process was killed, or cannot reach the database, or something holds it.
        """
        return (
            self.status not in FINISHED
            and bool(self.worker)
            and self.updated < timezone.now() - timedelta(seconds=LOST_S)
        )
