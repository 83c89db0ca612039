"""WebSockets: Channels' consumers on the event loop.

Consumers need nothing of this package: what they run in stands in `onloop.rebind`. It has the
application that serves them, and who may open a socket. Importing it needs no settings.
"""

from __future__ import annotations

from onloop.channels.application import get_asgi_application
from onloop.channels.bodies import BodyLimitMiddleware
from onloop.channels.counts import socket_stats
from onloop.channels.limits import SocketLimitsMiddleware
from onloop.channels.origin import StrictOriginMiddleware
from onloop.channels.shutdown import close_sockets
from onloop.channels.tokens import TokenAuthMiddleware, issue_ticket

__all__ = [
    "BodyLimitMiddleware",
    "SocketLimitsMiddleware",
    "StrictOriginMiddleware",
    "TokenAuthMiddleware",
    "close_sockets",
    "get_asgi_application",
    "issue_ticket",
    "socket_stats",
]
