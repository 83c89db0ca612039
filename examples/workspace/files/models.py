"""Who has which files. Their bytes are in the storage, under names that nobody chose."""

import uuid
from functools import partial
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import models, transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone

MAX_NAME = 120


class StoredFile(models.Model):
    # Part of addresses: who does not have it cannot guess it.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="files"
    )
    name = models.CharField(max_length=MAX_NAME)
    content = models.FileField(max_length=100, editable=False)
    size = models.PositiveBigIntegerField(editable=False)
    media_type = models.CharField(max_length=80, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    # What a job finds out after the upload.
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, editable=False)
    thumbnail = models.FileField(max_length=100, blank=True, editable=False)
    preview = models.FileField(max_length=100, blank=True, editable=False)
    examined = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created", "-id"]
        indexes = [models.Index(fields=["owner", "-created", "-id"], name="file_of_owner")]

    def __str__(self) -> str:
        return self.name


class ShareLink(models.Model):
    """Whoever has its address may see and download a file, until it expires or is revoked."""

    # All that it takes: 122 random bits.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="links")
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField()
    revoked = models.DateTimeField(null=True, editable=False)
    downloads = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return f"Link to {self.file}"

    @property
    def works(self) -> bool:
        return self.revoked is None and self.expires > timezone.now()


@receiver(pre_delete, sender=StoredFile)
def take_away(instance: StoredFile, **kwargs: Any) -> None:
    """The bytes go when it is certain that the row has gone, whoever deletes it.

    They are looked up anew, and locked: a job may have just added pictures.
    """
    row = StoredFile.objects.select_for_update().filter(pk=instance.pk)
    for name in row.values_list("content", "thumbnail", "preview").first() or ():
        if name:
            # Robust: an error of the disk leaves bytes behind, and stops nobody.
            transaction.on_commit(partial(default_storage.delete, name), robust=True)
