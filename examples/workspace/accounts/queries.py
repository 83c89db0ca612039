"""What is asked about accounts, by the page and by the API."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from accounts.models import Role


def accounts(words: str = "", role: str = "") -> QuerySet[Any]:
    """Those that are active, by name; each has the role that ``role_of`` says."""
    users = get_user_model().objects.filter(is_active=True).select_related("profile")
    for word in words.split():
        users = users.filter(
            Q(username__icontains=word)
            | Q(first_name__icontains=word)
            | Q(last_name__icontains=word)
        )
    if role == Role.OWNER:
        users = users.filter(Q(is_superuser=True) | Q(profile__role=Role.OWNER))
    elif role:
        without = Q(profile=None) if role == Role.MEMBER else Q()
        users = users.filter(Q(profile__role=role) | without, is_superuser=False)
    return users.order_by("username", "pk")
