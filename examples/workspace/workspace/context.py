"""What each page counts for whom it is shown to: the bell's notices and the rooms' messages."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.db.models import OuterRef
from django.http import HttpRequest

import notices.services
import rooms.services

NOTHING = (0, 0)


def unread(request: HttpRequest) -> dict[str, Any]:
    """``unread_notices`` and ``unread_messages``: numbers, asked for together, in one query,
    if a template asks for one of them, and then once."""
    counted: list[tuple[int, int]] = []

    def count() -> tuple[int, int]:
        if not counted:
            counted.append(_count(request))
        return counted[0]

    return {"unread_notices": lambda: count()[0], "unread_messages": lambda: count()[1]}


def _count(request: HttpRequest) -> tuple[int, int]:
    user = OuterRef("pk")
    counts = (notices.services.number_unread(user), rooms.services.number_unread(user))
    found = get_user_model().objects.filter(pk=request.user.pk)
    try:
        return found.values_list(*counts).first() or NOTHING
    except DatabaseError:
        return NOTHING  # an error page is shown all the same
