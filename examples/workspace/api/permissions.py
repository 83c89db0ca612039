"""Who may do what: the roles of ``accounts.roles``, said by each view set for its actions."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.roles import has_role

if TYPE_CHECKING:
    from api.base import Api


class ByRole(BasePermission):
    def has_permission(self, request: Request, view: "Api") -> bool:
        if view.action is None:
            return True  # no such method: 405 comes next
        least = view.role_for(view.action)
        if least is None:
            return True
        if view.action in view.by_session and request.auth is not None:
            # Else whoever finds a token that soon expires could make one that never does.
            self.message = "This takes a log-in by password, not a bearer token."
            return False
        self.message = f"This takes the role “{least.label}”."
        return has_role(request.user, least)
