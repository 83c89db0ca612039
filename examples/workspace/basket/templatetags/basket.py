"""The line above each page of the shop."""

from typing import Any

from django import template
from django.db.models import Sum
from django.template.context import Context

from accounts.models import Role
from accounts.roles import has_role
from basket.services import lines_of

register = template.Library()


@register.inclusion_tag("basket/_bar.html", takes_context=True)
def shop_bar(context: Context, here: str = "") -> dict[str, Any]:
    """``here`` is the name of the page's address."""
    user = context["request"].user
    size = 0
    if user.is_authenticated:
        size = lines_of(user).aggregate(items=Sum("quantity"))["items"] or 0
    return {
        "here": here,
        "user": user,
        "size": size,
        "is_owner": has_role(user, Role.OWNER),
        "messages": context.get("messages"),
        "path": context["request"].get_full_path(),
    }
