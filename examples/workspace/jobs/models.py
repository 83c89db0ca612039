"""What somebody wanted done, and what came of it. How far it is, ``onloop.tasks`` knows."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from files.models import StoredFile


class Work(models.Model):
    class Kind(models.TextChoices):
        IMPORT = "import", "Import of products"
        EXPORT = "export", "Export of the catalogue"
        REPORT = "report", "Report on your files"

    kind = models.CharField(max_length=10, choices=Kind)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="works"
    )
    # Each attempt is a job of its own. One that was given up may still run somewhere: it writes
    # only while its number is the newest.
    attempt = models.PositiveIntegerField(default=1, editable=False)
    # The attempt's id in ``onloop.tasks``; empty until it is enqueued.
    job = models.CharField(max_length=64, blank=True, db_index=True, editable=False)
    source = models.ForeignKey(
        StoredFile, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    outcome = models.ForeignKey(
        StoredFile, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # Why it could not be done, for its owner.
    problem = models.CharField(max_length=300, blank=True, editable=False)
    result = models.JSONField(null=True, blank=True, editable=False)
    # The attempt whose end the owner was told of.
    told = models.PositiveIntegerField(default=0, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created", "-pk"]
        indexes = [models.Index(fields=["owner", "-created", "-id"], name="work_of_owner")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, no. {self.pk}"
