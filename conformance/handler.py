"""Onloop's handler, where Django's `ASGIHandler` and its test client's handler stand."""

from __future__ import annotations

from typing import Any


def serve_by_onloop() -> None:
    """Put Onloop's handler in the place of Django's; before Django's tests are imported."""
    from django.core import asgi
    from django.core.handlers import asgi as handlers
    from django.test import client

    from onloop import bridge
    from onloop.asgi.chain import Chain
    from onloop.asgi.handler import OnloopHandler
    from onloop.db.scope import Scope

    class OnloopClientHandler(Chain, client.AsyncClientHandler):
        """Django's handler for `AsyncClient`, with Onloop's chain in a bridge."""

        async def get_response_async(self, request: Any) -> Any:
            return await bridge.run(self._respond, request)

        def _respond(self, request: Any) -> Any:
            scope = Scope.begin()
            try:
                return self.get_response(request)
            finally:
                scope.end()

    handlers.ASGIHandler = asgi.ASGIHandler = OnloopHandler  # type: ignore[misc]
    client.AsyncClientHandler = OnloopClientHandler  # type: ignore[misc]
