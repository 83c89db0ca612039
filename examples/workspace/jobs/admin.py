from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from jobs.models import Work


@admin.register(Work)
class WorkAdmin(admin.ModelAdmin):
    list_display = ["kind", "owner", "attempt", "created"]
    list_filter = ["kind"]
    search_fields = ["owner__username", "job"]
    fields = readonly_fields = [
        "kind", "owner", "attempt", "job", "source", "outcome", "problem", "result", "created"
    ]  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
