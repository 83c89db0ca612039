from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from basket.models import BasketLine


@admin.register(BasketLine)
class BasketLineAdmin(admin.ModelAdmin):
    """To look at: a basket is its owner's."""

    list_display = ["user", "product", "quantity"]
    list_select_related = ["user", "product"]
    search_fields = ["user__username", "product__name", "product__sku"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
