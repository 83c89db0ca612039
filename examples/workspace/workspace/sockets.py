"""While the database is away sockets end, and their clients come back."""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from onloop.db.errors import ConnectionLost, DatabaseUnavailable

Application = Callable[..., Awaitable[None]]

logger = logging.getLogger(__name__)


def without_database(application: Application) -> Application:
    """Around the ASGI application: that is no fault of its own, so there is no traceback."""

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await application(scope, receive, send)
        except (DatabaseUnavailable, ConnectionLost) as error:
            if scope["type"] != "websocket":
                raise
            logger.warning("The socket %s ends: %s", scope["path"], error)
            with contextlib.suppress(Exception):  # who was open is closed already
                await send({"type": "websocket.close"})

    return wrapped
