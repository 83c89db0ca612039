"""Who may see how the service runs: the staff, in pages, sockets and for Prometheus alike."""

from typing import Any

from django.contrib.auth import get_user_model


async def is_staff(user: Any) -> bool:
    """As the database says now: who was staff when a socket was opened may not be any more."""
    if user is None or user.pk is None:
        return False
    return (
        await get_user_model()
        .objects.filter(pk=user.pk, is_active=True, is_staff=True)
        .aexists()
    )


def is_operator(user: Any) -> bool:
    """The same of a request's user, who has just been read."""
    return bool(user.is_authenticated and user.is_active and user.is_staff)
