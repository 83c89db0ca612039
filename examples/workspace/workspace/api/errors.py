"""The one shape in which every error leaves the JSON API."""

from collections.abc import Mapping
from typing import Any

from django.http import JsonResponse


class ApiError(Exception):
    """Raised by a view, answered as JSON.

    ``fields`` says what is wrong with single fields of the body or the query, by name.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    def response(self) -> JsonResponse:
        return JsonResponse(
            error_body(self.status, self.message, self.fields),
            status=self.status,
            headers=self.headers,
        )


def error_body(status: int, message: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"error": {"status": status, "message": message, "fields": dict(fields)}}
