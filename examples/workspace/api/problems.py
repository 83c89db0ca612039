"""Errors as problem documents (RFC 9457): what the services raise, and what it means here."""

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import IntegrityError, OperationalError
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler as stock_handler
from rest_framework.views import set_rollback

import accounts.services
import basket.services
import catalogue.services
import files.models
import files.naming
import files.storing
import jobs.services
import notices.services
import people.services
import rooms.errors
from catalogue.models import MAX_STOCK
from workspace.api import ApiError

CONTENT_TYPE = "application/problem+json"

# What is raised, the status, and what is said of it; where nothing stands, its own text.
MEANINGS: list[tuple[type[Exception], int, str]] = [
    (accounts.services.Refused, 409, ""),
    (accounts.services.UnknownUser, 404, "There is no such account."),
    (people.services.UnknownPerson, 404, "There is no such person."),
    (people.services.UnknownTeam, 404, "There is no such team."),
    (people.services.EmailTaken, 409, "Another person has this e-mail address."),
    (rooms.errors.NotAMember, 404, "You are in no such room."),
    (rooms.errors.BadMessage, 400, ""),
    (rooms.errors.BadRequest, 409, ""),
    (files.models.StoredFile.DoesNotExist, 404, "You have no such file."),
    (files.naming.BadName, 400, ""),
    (files.storing.NoRoom, 409, ""),
    (catalogue.services.UnknownProducts, 404, "There is no such product."),
    (catalogue.services.OutOfStock, 409, "There is not enough in stock."),
    (catalogue.services.UnknownOrder, 404, "There is no such order."),
    (catalogue.services.AlreadyCancelled, 409, "This order has been cancelled before."),
    (catalogue.services.StockOutOfRange, 409, f"A stock is between 0 and {MAX_STOCK}."),
    (basket.services.Full, 409, ""),
    (basket.services.Empty, 409, "The basket is empty."),
    (basket.services.Changed, 409, "The basket, or a price in it, has changed. Read it again."),
    (jobs.services.NotNow, 409, ""),
    (notices.services.UnknownNotice, 404, "You have no such notice."),
    (PermissionDenied, 403, ""),
    (RequestDataTooBig, 413, "The body is too long."),
    (ProtectedError, 409, "Other records refer to this one. Delete those first."),
    (IntegrityError, 409, "This contradicts what is stored."),
    (OperationalError, 503, "The database is busy. Try again."),
]


class Problem(serializers.Serializer):
    """What each error looks like."""

    type = serializers.CharField()
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField()
    detail = serializers.CharField(required=False, help_text="What is wrong, for people.")
    errors = serializers.DictField(
        required=False, help_text="By the names of fields: what is wrong with each."
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """For DRF's setting ``EXCEPTION_HANDLER``. None: nobody has foreseen it, and it is 500."""
    if isinstance(error, ApiError):
        return _problem(error.status, error.message, error.fields)
    if isinstance(error, Http404):
        return _problem(404, str(error) or "There is no such thing.")
    for kind, status, text in MEANINGS:
        if isinstance(error, kind):
            return _problem(status, text or str(error), _errors(error))
    response = stock_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        wrong = response.data if isinstance(response.data, dict) else {"body": response.data}
        told = _problem(400, "Some fields are not valid.", wrong)
    else:
        told = _problem(response.status_code, _said(error, context))
    for name in ("WWW-Authenticate", "Retry-After"):
        if name in response.headers:
            told[name] = response.headers[name]
    return told


def _said(error: Any, context: dict[str, Any]) -> str:
    match error:
        case exceptions.NotAuthenticated():
            return "This takes an account: send “Authorization: Bearer TOKEN”, or log in."
        case exceptions.MethodNotAllowed():
            return f"{error.detail} Allowed: {', '.join(context['view'].allowed_methods)}."
        case exceptions.UnsupportedMediaType():
            return "Send JSON, with the header “Content-Type: application/json”."
    return str(error.detail)


def _errors(error: Exception) -> dict[str, Any]:
    match error:
        case people.services.UnknownTeam():
            return {"team": ["Unknown id."]}
        case people.services.EmailTaken():
            return {"email": ["Already taken."]}
        case catalogue.services.UnknownProducts():
            return {"products": error.ids} if error.ids else {"sku": ["Unknown."]}
        case catalogue.services.OutOfStock():
            return {
                "products": [
                    {
                        "sku": shortage.product.sku,
                        "wanted": shortage.wanted,
                        "in_stock": shortage.product.stock,
                    }
                    for shortage in error.shortages
                ]
            }
    return {}


def _problem(status: int, detail: str, errors: Any = None) -> Response:
    set_rollback()
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    headers = {"Retry-After": "1"} if status == 503 else None
    return Response(body, status=status, content_type=CONTENT_TYPE, headers=headers)
