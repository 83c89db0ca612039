"""Checks for the fields of a JSON object.

Django's forms turn what they get into text first, so that the number 5 would pass as an e-mail
address of one character. JSON has types, and here they count.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from workspace.api.errors import ApiError

MAX_ID = 2**63 - 1
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_REQUIRED: Any = object()

Check = Callable[[Any], Any]


class Invalid(Exception):
    """One value is wrong; the message says how."""


@dataclass(frozen=True)
class Field:
    """A check, and the value that counts where the field is left out (none: it is required)."""

    check: Check
    default: Any = _REQUIRED


def clean(data: Any, fields: Mapping[str, Field], *, partial: bool = False) -> dict[str, Any]:
    """The checked values of a JSON object.

    With ``partial`` what is left out stays out. Raises ``ApiError`` 400 that names every field
    that is wrong, missing or unknown.
    """
    if not isinstance(data, dict):
        raise ApiError(400, "The body must be a JSON object.")
    wrong: dict[str, str] = dict.fromkeys(data.keys() - fields.keys(), "Unknown field.")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            try:
                values[name] = field.check(data[name])
            except Invalid as error:
                wrong[name] = str(error)
        elif partial:
            continue
        elif field.default is _REQUIRED:
            wrong[name] = "This field is required."
        else:
            values[name] = field.default
    if wrong:
        raise ApiError(400, "Some fields are not valid.", fields=wrong)
    return values


def text(max_length: int, *, blank: bool = False) -> Check:
    """Text without outer white space, at most ``max_length`` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Invalid("Must be text.")
        value = value.strip()
        if not value and not blank:
            raise Invalid("Must not be empty.")
        if len(value) > max_length:
            raise Invalid(f"Must have at most {max_length} characters.")
        # PostgreSQL takes no NUL, and JSON can spell half a surrogate pair that has no UTF-8.
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise Invalid("Holds a character that cannot be stored.")
        return value

    return check


def email() -> Check:
    checked_text = text(254)

    def check(value: Any) -> str:
        address: str = checked_text(value)
        if not address.isascii():
            raise Invalid("Must be plain ASCII (write an international domain as xn--…).")
        try:
            validate_email(address)
        except ValidationError:
            raise Invalid("Must be an e-mail address.") from None
        return address

    return check


def whole(minimum: int, maximum: int) -> Check:
    """A whole number. ``true`` is none, although Python's ``bool`` is an ``int``."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Invalid("Must be a whole number.")
        if not minimum <= value <= maximum:
            raise Invalid(f"Must be between {minimum} and {maximum}.")
        return value

    return check


def identifier() -> Check:
    return whole(1, MAX_ID)


def flag() -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise Invalid("Must be true or false.")
        return value

    return check


def date() -> Check:
    """A calendar day as YYYY-MM-DD, the one spelling of ISO 8601 that people write."""

    def check(value: Any) -> datetime.date:
        if not isinstance(value, str) or not _ISO_DATE.fullmatch(value):
            raise Invalid("Must be a date like 2025-03-31.")
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            raise Invalid("There is no such day.") from None

    return check


def query_text(query: Mapping[str, str], name: str, max_length: int) -> str:
    """A text from the query string, empty where it is not given. Raises ``ApiError`` 400."""
    try:
        value: str = text(max_length, blank=True)(query.get(name, ""))
    except Invalid as error:
        raise ApiError(400, "The query is not valid.", fields={name: str(error)}) from None
    return value
