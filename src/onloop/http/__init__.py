"""HTTP to other services: shared clients with limits, retries and circuits (docs/http.md)."""

from __future__ import annotations

try:
    import httpx as _httpx  # noqa: F401 - it is what this package stands on
except ImportError as exc:
    raise ImportError('onloop.http needs httpx: pip install "django-onloop[http]"') from exc

from onloop.http.clients import client, public_client
from onloop.http.errors import (
    BodyTooLarge,
    CircuitOpen,
    DeadlineExceeded,
    TargetRefused,
    TooManyWaiters,
)
from onloop.http.extensions import options
from onloop.http.fanout import Result, fan_out
from onloop.http.hosts import stats
from onloop.perloop import close_all as aclose

__all__ = [
    "BodyTooLarge",
    "CircuitOpen",
    "DeadlineExceeded",
    "Result",
    "TargetRefused",
    "TooManyWaiters",
    "aclose",
    "client",
    "fan_out",
    "options",
    "public_client",
    "stats",
]
