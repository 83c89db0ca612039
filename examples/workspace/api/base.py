"""What the view sets have in common."""

from collections.abc import Iterable
from typing import Any

from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from accounts.models import Role


class Api(GenericViewSet):
    # The least role for what ``roles`` does not name; None: anybody.
    role: Role | None = Role.GUEST
    roles: dict[str, Role | None] = {}
    # Actions that no bearer token reaches.
    by_session: frozenset[str] = frozenset()
    # Statuses that an action may answer with, beside those that follow from its shape.
    problems: dict[str, Iterable[int]] = {}

    def role_for(self, action: str) -> Role | None:
        return self.roles.get(action, self.role)

    def sent(self, serializer: type[BaseSerializer], **options: Any) -> dict[str, Any]:
        """What is in the body, checked."""
        return _checked(serializer(data=self.request.data, **options))

    def asked(self, serializer: type[BaseSerializer]) -> dict[str, Any]:
        """What is in the query, checked."""
        return _checked(serializer(data=self.request.query_params.dict()))

    def page_of(self, rows: Any) -> Response:
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def _checked(serializer: BaseSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data
