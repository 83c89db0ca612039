"""DRF's errors in the shape of the rest of the API."""

from typing import Any

from django.db import IntegrityError, OperationalError
from django.db.models import ProtectedError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as stock_handler
from rest_framework.views import set_rollback

from workspace.api.errors import error_body


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Adds three of the database's errors, as what they mean to a client."""
    if isinstance(error, ProtectedError):
        return _refusal(409, "Other records refer to this one.")
    if isinstance(error, IntegrityError):
        return _refusal(409, "This contradicts what is stored.")
    if isinstance(error, OperationalError):
        return _refusal(503, "The database is busy. Try again.")
    response = stock_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        fields = response.data if isinstance(response.data, dict) else {"body": response.data}
        message = "Some fields are not valid."
    else:
        fields, message = {}, str(getattr(error, "detail", "") or "There is no such thing.")
    response.data = error_body(response.status_code, message, fields)
    return response


def _refusal(status: int, message: str) -> Response:
    set_rollback()
    return Response(error_body(status, message, {}), status=status)
