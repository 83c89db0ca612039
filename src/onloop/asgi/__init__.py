"""The ASGI application: one changed import in a project's `asgi.py`."""

from __future__ import annotations

from onloop.asgi.application import get_asgi_application

__all__ = ["get_asgi_application"]
