"""Problem documents (RFC 9457): who gets one, and what stands in it.

Nothing that an exception or a page says may come into a document, except for what a project
itself says in its `Http404` and `PermissionDenied`. No request may make this code fail.
"""

from __future__ import annotations

import json
from http.client import responses
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.functional import Promise
from django.utils.http import escape_leading_slashes

from onloop import conf
from onloop.db.errors import ConnectionLost, DatabaseUnavailable
from onloop.middleware.paths import is_under

CONTENT_TYPE = "application/problem+json"

HTML = frozenset({"text/html", "application/xhtml+xml"})


class Cause(NamedTuple):
    """An exception that has a meaning for the client: Django's status for it, ours, and why."""

    djangos: int
    status: int
    detail: str = ""


def cause_of(exc: BaseException | None) -> Cause | None:
    """What may be told of `exc`; None where that is nothing but Django's status."""
    match exc:
        case Http404():
            return Cause(404, 404, _own_words(exc))
        case PermissionDenied():
            return Cause(403, 403, _own_words(exc))
        case RequestDataTooBig():
            return Cause(400, 400, "The body is larger than this server accepts.")
        case TooManyFieldsSent() | TooManyFilesSent():
            return Cause(400, 400, "The form has more fields than this server accepts.")
        case MultiPartParserError():
            return Cause(400, 400, "The body is not the multipart form that it claims to be.")
        case UnreadablePostError():
            return Cause(500, 400, "The body could not be read to its end.")
        case DatabaseUnavailable() | ConnectionLost():
            return Cause(500, 503)
    return None


def _own_words(exc: Exception) -> str:
    """The message, unless Django's code or ours raised it: that names models and files."""
    traceback = exc.__traceback__
    module = ""
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__"))
        traceback = traceback.tb_next
    # The resolver's message is a dictionary of what it has tried.
    if (
        not exc.args
        or module.startswith(("django.", "onloop."))
        or not isinstance(exc.args[0], str | Promise)
    ):
        return ""
    return str(exc.args[0])


def document(request: HttpRequest, status: int, detail: str, error_id: str) -> bytes:
    """The problem document, encoded."""
    path = quote(request.path, safe="/:@!$&'()*+,;=~", errors="replace")
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": responses.get(status, "Unknown Error"),
        "status": status,
        "instance": escape_leading_slashes(path),
    }
    if detail:
        members["detail"] = detail
    if error_id:
        members["error_id"] = error_id
    return json.dumps(members).encode("ascii")


def wants_problem(request: HttpRequest) -> bool:
    """Tell whether an error of this request is answered in JSON.

    It is where the Accept header prefers JSON, and where the path is under a prefix in
    `ONLOOP["JSON_ERRORS"]`. With DEBUG, who prefers HTML has Django's pages there too.
    """
    as_json, as_html = _qualities(request.META.get("HTTP_ACCEPT", ""))
    if as_json > as_html:
        return True
    if settings.DEBUG and as_html > as_json:
        return False
    return under_prefix(request)


def under_prefix(request: HttpRequest) -> bool:
    """Tell whether the path is under a prefix in `ONLOOP["JSON_ERRORS"]`."""
    return is_under(request.path_info, conf.get().JSON_ERRORS)


def _qualities(accept: str) -> tuple[float, float]:
    """How much a client wants JSON and HTML: of the types that it names, without wildcards.

    Not by Django's parser, which refuses some headers with a ValueError.
    """
    as_json = as_html = 0.0
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in HTML:
            as_html = max(as_html, _quality(parameters))
        elif name == "application/json" or (
            name.startswith("application/") and name.endswith("+json")
        ):
            as_json = max(as_json, _quality(parameters))
    return as_json, as_html


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                return 1.0
            return quality if 0 <= quality <= 1 else 1.0  # as Django reads it
    return 1.0
