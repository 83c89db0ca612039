"""What can be wrong with a request's body, and the answer to it."""

from __future__ import annotations

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import UnreadablePostError


class ClientDisconnected(UnreadablePostError):
    """The client is gone, and the rest of its body will not come."""


class WrongLength(BadRequest):
    """More has come than the `Content-Length` said; 400."""

    def __init__(self, declared: int) -> None:
        super().__init__(f"The body is longer than its Content-Length, {declared} bytes.")


class BodyTooBig(RequestDataTooBig):
    """The body has more bytes than `ONLOOP["MAX_BODY"]`, or the view, allows; 413."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The body is longer than {limit} bytes. The limit is ONLOOP['MAX_BODY'], or "
            "@onloop.limits(max_body=...) of a view."
        )


class BodyTimeout(SuspiciousOperation):
    """The client took too long to send its body; 408."""

    status = 408

    def __init__(self, received: int) -> None:
        super().__init__(
            f"The body did not come in time: {received} bytes had. The limits are "
            "ONLOOP['BODY_TIMEOUT'] and ['CHUNK_TIMEOUT'], or @onloop.limits(...) of a view."
        )
