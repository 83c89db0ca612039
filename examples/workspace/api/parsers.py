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
            return json.loads(body.decode(), parse_constant=_refuse, parse_float=_float)
        except (ValueError, RecursionError):
            raise ParseError("The body is not valid JSON.") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    """``1e400`` is JSON, and infinite as a ``float``."""
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number
