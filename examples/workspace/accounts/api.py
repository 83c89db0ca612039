"""Roles for JSON views, whose refusals are JSON too."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import Role
from accounts.roles import require
from onloop import bridge
from workspace.api import ApiError

NOT_LOGGED_IN = "Log in first, or send a bearer token."
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="workspace"'}


async def api_user(request: HttpRequest, least: Role) -> Any:
    """The user of a session or a bearer token. Raises ``ApiError`` 401 or 403.

    The view needs ``uses_session``, or a foreign page could borrow the session.
    """
    user = await request.auser()
    if not user.is_authenticated:
        raise ApiError(401, NOT_LOGGED_IN, headers=CHALLENGE)
    try:
        await bridge.run(require, user, least)  # which may read the profile
    except PermissionDenied as error:
        raise ApiError(403, str(error)) from None
    return user
