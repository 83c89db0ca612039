"""Bodies: JSON as its standard has it, and not more of it than anybody needs."""

import json
import math
from typing import Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

from workspace.api.views import MAX_BODY_BYTES


class TooLarge(APIException):
    status_code = 413
    default_detail = f"The body must not be longer than {MAX_BODY_BYTES} bytes."


class BoundedJSON(JSONParser):
    def parse(self, stream: Any, *args: Any, **kwargs: Any) -> Any:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
        try:
            found = json.loads(body.decode(), parse_constant=_refuse, parse_float=_float)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {_why(error)}.") from None
        if not isinstance(found, dict):
            raise ParseError('The body must be a JSON object, such as {"name": "Ada"}.')
        return found


def _why(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"{error.msg}, in line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return str(error)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    """``1e400`` is JSON, and infinite as a ``float``."""
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number
