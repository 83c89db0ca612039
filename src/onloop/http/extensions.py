"""What a single request may ask for beside httpx's own arguments."""

from __future__ import annotations

import time
from typing import Any

import httpx

from onloop import conf

DEADLINE_S = "onloop.deadline_s"
ENDS_AT = "onloop.ends_at"
RETRY = "onloop.retry"


def options(
    *, deadline_s: float | None = None, retry: bool | None = None, extensions: Any = ()
) -> dict[str, Any]:
    """Return `extensions` for a request: `client().post(url, extensions=options(retry=True))`.

    `deadline_s`: seconds for the request in all, with retries, redirects and the reading of the
    body, in place of `ONLOOP["HTTP"]["DEADLINE"]`; 0 for no end. `retry`: whether it may be
    sent again after a failure, in place of "if its method is idempotent". `extensions`: others
    of httpx, to be kept.
    """
    found = dict(extensions)
    if deadline_s is not None:
        if deadline_s < 0:
            raise ValueError("options(deadline_s=...) is a number of seconds, 0 or more.")
        found[DEADLINE_S] = deadline_s
    if retry is not None:
        found[RETRY] = retry
    return found


def begin(request: httpx.Request) -> None:
    """Let the time of `request` begin now. Redirects of it inherit its end."""
    deadline_s = request.extensions.get(DEADLINE_S, conf.get().HTTP.DEADLINE)
    request.extensions[ENDS_AT] = time.monotonic() + deadline_s if deadline_s else None


def ends_at(request: httpx.Request) -> float | None:
    """Return when its time ends, on `time.monotonic`'s clock; None for never."""
    if ENDS_AT not in request.extensions:
        begin(request)
    end: float | None = request.extensions[ENDS_AT]
    return end


def late(request: httpx.Request) -> str:
    """Return what is said when its time is over; without the query, which may hold secrets."""
    url = request.url
    return (
        f"The time for {request.method} {url.scheme}://{url.netloc.decode()}{url.path} is over "
        '(ONLOOP["HTTP"]["DEADLINE"], or extensions=onloop.http.options(deadline_s=...)).'
    )
