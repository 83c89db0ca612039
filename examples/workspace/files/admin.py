from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from files.models import StoredFile


@admin.register(StoredFile)
class StoredFileAdmin(admin.ModelAdmin):
    """Whose files there are. What is in them is their owners' business."""

    list_display = ["name", "owner", "size", "media_type", "created"]
    list_filter = ["media_type"]
    search_fields = ["name", "owner__username", "sha256"]
    fields = readonly_fields = ["name", "owner", "size", "media_type", "created", "sha256"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
