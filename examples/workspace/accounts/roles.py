"""Who may do what, asked in one way by pages, the API and sockets."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts.models import Profile, Role

View = Callable[..., Awaitable[HttpResponse]]

_RANKS = {Role.GUEST: 1, Role.MEMBER: 2, Role.OWNER: 3}


def role_of(user: Any) -> Role | None:
    """None for somebody who is not logged in, or not active.

    Django's superusers are owners. An account that was made without a profile, by
    ``manage.py createsuperuser`` or the admin, is a member.
    """
    if not (user.is_authenticated and user.is_active):
        return None
    if user.is_superuser:
        return Role.OWNER
    try:
        return Role(user.profile.role)
    except Profile.DoesNotExist:
        return Role.MEMBER


def has_role(user: Any, least: Role) -> bool:
    """Whether the user has this role, or one above it."""
    role = role_of(user)
    return role is not None and _RANKS[role] >= _RANKS[least]


def require(user: Any, least: Role) -> None:
    """Raises ``PermissionDenied``, which says what it takes."""
    if not has_role(user, least):
        raise PermissionDenied(f"This takes the role “{least.label}”.")


def requires(least: Role) -> Callable[[View], View]:
    """For async views: whoever is not logged in is asked to; whoever may not, gets a 403."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        async def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            require(request.user, least)
            return await view(request, *args, **kwargs)

        return login_required(checked)

    return decorate


def by_session(view: View) -> View:
    """For async views about passwords and tokens: a bearer token does not reach them.

    Else whoever finds one that soon expires could make another that never does.
    """

    @functools.wraps(view)
    async def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if getattr(request, "token", None) is not None:
            raise PermissionDenied("This takes a log-in by password, not a bearer token.")
        return await view(request, *args, **kwargs)

    return login_required(checked)
