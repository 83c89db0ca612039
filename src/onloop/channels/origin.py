"""Who may open a socket: pages of this site, by the rule that Django's CSRF check has.

A browser sends a site's cookies with a socket that any page opens, and nothing but `Origin`
tells which page it was. Cookies are what logs in, so every other page must be refused.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.http import is_same_domain

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

logger = logging.getLogger("onloop.channels")

MAX_LOGGED = 200
# What a server closes a socket with that may not be (RFC 6455); before the handshake: 403.
POLICY_VIOLATION = 1008

# A host as Django has it, with what stands before it in an origin. Nothing after the port.
_ORIGIN = re.compile(
    r"(https?)://([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(?::([0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}
# Of headers that say nothing of host, scheme or origin, and that Django would look into.
_LEFT_OUT = (b"content-type", b"content-length", b"cookie")


class Origin(NamedTuple):
    """Scheme, host and port: what RFC 6454 compares."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Return the origin that `text` is, None if it is none of a page on the web."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme = match[1].lower()
        return cls(scheme, match[2].lower(), int(match[3] or _DEFAULT_PORTS[scheme]))


class StrictOriginMiddleware:
    """Let in only sockets that a page of this site has opened; the others are closed (403).

    A page is of this site if its origin (scheme, host and port) is that of the request, or in
    `CSRF_TRUSTED_ORIGINS`; the request's host must be in `ALLOWED_HOSTS`. Django's
    `USE_X_FORWARDED_HOST` and `SECURE_PROXY_SSL_HEADER` hold. Whatever sends no `Origin` or
    host, or more than one, is refused.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    # Not `async def`: of what is handed over to the application, no coroutine of this one is
    # kept for as long as the socket lives. Marked for servers that ask whether it is one.
    @markcoroutinefunction
    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "websocket":
            raise ValueError(
                f"StrictOriginMiddleware is for WebSockets, not for {scope['type']!r}. Put it "
                'around the application of "websocket" in ProtocolTypeRouter.'
            )
        if is_of_this_site(scope):
            return self.inner(scope, receive, send)
        return _refuse(scope, receive, send)


async def _refuse(scope: Message, receive: Receive, send: Send) -> None:
    logger.warning(
        "A socket was refused: its Origin %s is not that of this site (Host %s). Other "
        "sites that may open sockets belong into CSRF_TRUSTED_ORIGINS.",
        _shown(_values(scope, b"origin")),
        _shown(_values(scope, b"host")),
    )
    await receive()
    await send({"type": "websocket.close", "code": POLICY_VIOLATION})


def is_of_this_site(scope: Message) -> bool:
    """Decide by the headers of a handshake whether a page of this site sends it."""
    origins = _values(scope, b"origin")
    if len(origins) != 1 or len(_values(scope, b"host")) != 1:
        return False
    origin = Origin.parse(origins[0].decode("latin1"))
    own = _own_origin(scope)
    if origin is None or own is None:
        return False
    return origin == own or any(
        _is_trusted(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS
    )


def _own_origin(scope: Message) -> Origin | None:
    """The origin that the request was sent to; None if Django does not serve that host."""
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    scheme = scope.get("scheme", "ws")
    request = ASGIRequest(
        {
            "method": "GET",
            "path": "/",
            "headers": [header for header in headers if header[0] not in _LEFT_OUT],
            "scheme": _SCHEMES.get(scheme, scheme),
            "server": scope.get("server"),
        },
        io.BytesIO(),
    )
    try:
        return Origin.parse(f"{request.scheme}://{request.get_host()}")
    except DisallowedHost:
        return None


def _is_trusted(origin: Origin, trusted: str) -> bool:
    wanted = Origin.parse(trusted.replace("://*.", "://", 1))
    if wanted is None or "://*." not in trusted:
        return origin == wanted
    # As in Django, the domain itself belongs to its subdomains.
    same_domain = is_same_domain(origin.host, f".{wanted.host}")
    return same_domain and origin == wanted._replace(host=origin.host)


def _values(scope: Message, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name.lower() == wanted]


def _shown(values: list[bytes]) -> str:
    """For a log: no line breaks, and not the whole of what somebody sends."""
    return ascii([value[:MAX_LOGGED].decode("latin1") for value in values[:3]])
