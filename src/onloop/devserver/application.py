"""The ASGI application that `runserver` serves: the project's own, or Onloop's handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.utils.module_loading import import_string

from onloop.asgi import get_asgi_application

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Servers and Django have each their own types of these three.
Application = Callable[[Any, Any, Any], Awaitable[None]]


def load() -> Application:
    """Return what the setting `ASGI_APPLICATION` names; without it, Onloop's handler.

    Raises `ImproperlyConfigured` if it cannot be imported.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        return get_asgi_application()
    try:
        application: Application = import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"ASGI_APPLICATION {path!r} could not be loaded: {exc}. It must be a dotted path "
            "such as 'mysite.asgi.application'. Without it, Onloop's own handler is served."
        ) from exc
    return application


def is_stock(application: Application) -> bool:
    """Tell whether it is Django's own handler, which Onloop does not speed up."""
    return type(application) is ASGIHandler
