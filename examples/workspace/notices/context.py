"""The bell of each page."""

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest

from notices import services


def bell(request: HttpRequest) -> dict[str, Any]:
    """``unread_notices``: a number, counted if a template asks for it, and then once."""
    counted: list[int] = []

    def unread() -> int:
        if not counted:
            counted.append(_count(request))
        return counted[0]

    return {"unread_notices": unread}


def _count(request: HttpRequest) -> int:
    try:
        return services.unread_of(request.user).count()
    except DatabaseError:
        return 0  # an error page is shown all the same
