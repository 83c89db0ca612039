"""The project with consumers of HTTP beside its views."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from onloop.asgi import get_asgi_application
from onloop.channels import BodyLimitMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")

project = get_asgi_application()

from tests.project.sockets import http  # noqa: E402 - after setup()

application = ProtocolTypeRouter({
    "http": BodyLimitMiddleware(URLRouter([
        path("consumers/stream/", http.Stream.as_asgi()),
        path("consumers/poll/", http.Poll.as_asgi()),
        path("consumers/long/", http.LongLived.as_asgi()),
        path("consumers/takes/", http.Takes.as_asgi()),
        re_path(r"", project),
    ])),
    "lifespan": project,
})  # fmt: skip
