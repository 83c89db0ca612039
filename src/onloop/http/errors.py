"""What goes wrong before a server is asked. All are `httpx.TransportError`s, as its own are."""

from __future__ import annotations

import httpx

from onloop.errors import OnloopError


class DeadlineExceeded(OnloopError, httpx.TimeoutException):
    """The time for the request in all is over, or that of a `fan_out`."""


class TooManyWaiters(OnloopError, httpx.TransportError):
    """`ONLOOP["HTTP"]["MAX_WAITING"]` requests wait for a place already."""


class CircuitOpen(OnloopError, httpx.TransportError):
    """The host has failed too often in a row and is left alone for now.

    `host`: its name and port. `retry_in_s`: seconds until one request tries it again.
    """

    def __init__(self, host: str, retry_in_s: float, reason: str) -> None:
        self.host = host
        self.retry_in_s = retry_in_s
        when = f"in {retry_in_s:.1f} s" if retry_in_s else "by another request right now"
        super().__init__(
            f"{host} is not asked, since it {reason}; it is tried again {when} "
            '(ONLOOP["HTTP"]["CIRCUIT_FAILURES"] and ["CIRCUIT_RESET"]).'
        )


class TargetRefused(OnloopError, httpx.TransportError):
    """The public client does not go there: no public address, or a port that is not allowed."""


class BodyTooLarge(OnloopError, httpx.TransportError):
    """The response that the public client got is longer than it takes, or is compressed."""
