"""The same by Channels' own pieces, as its documentation writes it."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter

from onloop.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")

http = get_asgi_application()

from tests.project.sockets.routing import websocket_urlpatterns  # noqa: E402 - after setup()

application = ProtocolTypeRouter({
    "http": http,
    "lifespan": http,
    "websocket": AuthMiddlewareStack(URLRouter(websocket_urlpatterns)),
})  # fmt: skip
