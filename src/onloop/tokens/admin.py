"""Tokens in the admin: to look at and to delete. They are issued by code or by the command."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest

from onloop.tokens.models import Token


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # Django's takes none
    # Never the hash. That deleting stays possible is not for tokens alone: the admin deletes no
    # user of whose tokens it may not delete.
    fields = (
        "visible_id",
        "name",
        "user",
        "state",
        "created",
        "expires",
        "last_used",
        "revoked",
    )
    readonly_fields = fields
    list_display = ("visible_id", "name", "user", "state", "expires", "last_used")
    list_select_related = ("user",)
    ordering = ("-created",)

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("public_id", "name", f"user__{get_user_model().USERNAME_FIELD}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
