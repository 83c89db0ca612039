"""What can be wrong with a request, and the answer to it."""

from __future__ import annotations

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import UnreadablePostError

from onloop.errors import OnloopError


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


class InvalidMessage(OnloopError, RuntimeError):
    """The server handed over a message that the ASGI specification does not have here."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"The server sent {message}. A request has messages of the type 'http.request', "
            "whose 'body' is a byte string, and 'http.disconnect' (ASGI's HTTP specification). "
            "This is a fault of the server, or of what stands between it and Onloop."
        )


class InvalidScope(OnloopError, RuntimeError):
    """The server called the application with a scope that the ASGI specification forbids."""

    def __init__(self, wrong: str) -> None:
        super().__init__(
            f"The scope of a request is wrong: {wrong} (ASGI's HTTP specification). This is a "
            "fault of the server, or of what stands between it and Onloop."
        )
