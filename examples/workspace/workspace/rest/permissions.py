"""Who may do what under ``/api/``."""

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView


class StaffOrReadOnly(BasePermission):
    """Anyone may read; changing things takes a member of staff."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return request.method in SAFE_METHODS or bool(request.user.is_staff)
