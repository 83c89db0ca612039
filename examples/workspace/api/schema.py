"""The OpenAPI document: what drf-spectacular finds, and the errors that each operation has."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.openapi import AutoSchema

from accounts.models import Role
from api.problems import CONTENT_TYPE, Problem

# Of operations that are Django REST framework's own, and say nothing of themselves.
SUMMARIES = {
    "list": "All of them",
    "retrieve": "One of them",
    "create": "Add one",
    "update": "Replace one",
    "partial_update": "Change one",
    "destroy": "Delete one",
}
WRITING = ("POST", "PUT", "PATCH", "DELETE")


class Schema(AutoSchema):
    def get_summary(self) -> str | None:
        """The first line that a view says of itself."""
        first = self.get_description().split("\n")[0].strip()
        return first.rstrip(".") or SUMMARIES.get(getattr(self.view, "action", ""))

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        role_for = getattr(self.view, "role_for", None)
        if operation is None or role_for is None:
            return operation
        least = role_for(self.view.action)
        if least is None:
            operation["security"] = [*operation["security"], {}]
        takes = "Takes no account." if least is None else f"Takes the role “{least.label}”."
        # Its first line is the summary.
        _, _, more = operation.get("description", "").partition("\n")
        operation["description"] = f"{more.strip()}\n\n{takes}".strip()
        problem = self.resolve_serializer(Problem, "response").ref
        for status in sorted(self._errors(operation, least)):
            operation["responses"].setdefault(
                str(status),
                {
                    "description": HTTPStatus(status).phrase,
                    "content": {CONTENT_TYPE: {"schema": problem}},
                },
            )
        return operation

    def _errors(self, operation: dict[str, Any], least: Role | None) -> set[int]:
        parameters = operation.get("parameters", [])
        # Of any: a token that is not valid, too many of them, a database that is busy.
        found = {400, 401, 429, 503, *self.view.problems.get(self.view.action, ())}
        if least not in (None, Role.GUEST) or self.method in WRITING:
            found.add(403)  # the role, or the CSRF token
        if "requestBody" in operation:
            found |= {413, 415}
        if any(each["in"] == "path" or each["name"] == "page" for each in parameters):
            found.add(404)
        return found
