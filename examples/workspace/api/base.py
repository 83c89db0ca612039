"""What the view sets have in common."""

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.fields import ChoiceField
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
        return checked(serializer(data=self.request.data, **options))

    def asked(self, serializer: type[BaseSerializer]) -> dict[str, Any]:
        """What is in the query, checked."""
        given = self.request.query_params.dict()
        return checked(serializer(data=given), takes_more=True)

    def page_of(self, rows: Any) -> Response:
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def checked(serializer: BaseSerializer, *, takes_more: bool = False) -> dict[str, Any]:
    """What was sent, if it is valid. Raises ``ValidationError``, which says what would be.

    A name that the serializer does not know is refused, unless it ``takes_more``; so is, in a
    PATCH, one that it only shows. Who sends back all that was read may have those in it.
    """
    serializer.is_valid()
    wrong = {**serializer.errors}
    fields = serializer.fields
    for name in wrong.keys() & fields.keys():
        codes = [getattr(each, "code", "") for each in wrong[name]]
        if isinstance(fields[name], ChoiceField) and codes == ["invalid_choice"]:
            choices = ", ".join(str(choice) for choice in fields[name].choices)
            wrong[name] = [f"Must be one of: {choices}."]
    if not takes_more:
        wrong |= _unknown(serializer)
    if wrong:
        raise ValidationError(wrong)
    return serializer.validated_data


def _unknown(serializer: BaseSerializer) -> dict[str, list[str]]:
    takes = [name for name, field in serializer.fields.items() if not field.read_only]
    known = takes if serializer.partial else serializer.fields
    text = f"There is no such field to write. There are: {', '.join(takes)}."
    return {name: [text] for name in serializer.initial_data if name not in known}
