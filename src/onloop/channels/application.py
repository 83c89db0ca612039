"""HTTP, lifespan and WebSockets as one ASGI application, in one line of `asgi.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from onloop import asgi
from onloop.channels.limits import SocketLimitsMiddleware
from onloop.channels.origin import StrictOriginMiddleware
from onloop.channels.tokens import TokenAuthMiddleware


def get_asgi_application(
    websocket: str | Sequence[Any], *, channel: str | Mapping[str, Any] | None = None
) -> Any:
    """Set Django up and return the application of a project with sockets.

    `websocket`: routes of consumers, `[path("chat/", ChatConsumer.as_asgi())]`, or the dotted
    path of such a list: that is imported when Django is set up, so consumers may import models.

    `channel`: consumers for `manage.py runworker` by the names of their channels,
    `{"thumbnails": ThumbnailConsumer.as_asgi()}`, or the dotted path of such a dict.

    HTTP and the lifespan go to Onloop's handler. Sockets pass `StrictOriginMiddleware`, then
    Channels' `AuthMiddlewareStack` where `django.contrib.auth` and `sessions` are installed,
    and `SocketLimitsMiddleware`. Where `onloop.tokens` is installed, those with a token or a
    ticket pass `TokenAuthMiddleware` in place of the first two.

    Raises `ImproperlyConfigured` if Channels is not installed, or a path is not that of a list
    or a dict.
    """
    http = asgi.get_asgi_application()
    try:
        from channels.routing import (  # noqa: PLC0415 - may be not installed
            ChannelNameRouter,
            ProtocolTypeRouter,
        )
    except ImportError as exc:
        raise ImproperlyConfigured(
            "onloop.channels.get_asgi_application() needs Channels: "
            'pip install "django-onloop[channels]".'
        ) from exc
    routes = _imported(websocket) if isinstance(websocket, str) else websocket
    if not isinstance(routes, list | tuple):
        raise ImproperlyConfigured(
            "onloop.channels.get_asgi_application() takes a list of routes such as "
            f"[path(...)], or its dotted path, not {websocket!r}."
        )
    sockets = socket_stack(list(routes))
    lifespan = SocketLimitsMiddleware(http)
    protocols = {"http": http, "lifespan": lifespan, "websocket": sockets}
    if channel is not None:
        names = _imported(channel) if isinstance(channel, str) else channel
        if not isinstance(names, Mapping):
            raise ImproperlyConfigured(
                "onloop.channels.get_asgi_application(channel=...) takes a dict of consumers "
                f"by the names of their channels, or its dotted path, not {channel!r}."
            )
        protocols["channel"] = ChannelNameRouter(dict(names))
    return ProtocolTypeRouter(protocols)


def socket_stack(routes: list[Any]) -> Any:
    """What a socket passes through on its way to its consumer, outermost first."""
    from channels.routing import URLRouter  # noqa: PLC0415 - see above

    limited = SocketLimitsMiddleware(URLRouter(routes))
    stack: Any = limited
    if apps.is_installed("django.contrib.auth") and apps.is_installed(
        "django.contrib.sessions"
    ):
        from channels.auth import AuthMiddlewareStack  # noqa: PLC0415

        stack = AuthMiddlewareStack(stack)
    stack = StrictOriginMiddleware(stack)
    if apps.is_installed("onloop.tokens"):
        # No foreign page knows a token, so it does not matter which page sends it.
        stack = TokenAuthMiddleware(limited, otherwise=stack)
    return stack


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"The routes of sockets, {path!r}, could not be imported: {exc}. It must be the "
            "dotted path of a list, such as 'mysite.routing.websocket_urlpatterns'; for "
            "channel= that of a dict."
        ) from exc
