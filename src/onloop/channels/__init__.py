"""WebSockets: Channels' consumers on the event loop.

Consumers need nothing of this package: what they run in stands in `onloop.rebind`. It has the
application that serves them, and who may open a socket. Importing it needs no settings.
"""

from __future__ import annotations

from onloop.channels.application import get_asgi_application
from onloop.channels.origin import StrictOriginMiddleware

__all__ = ["StrictOriginMiddleware", "get_asgi_application"]
