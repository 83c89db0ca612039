"""Sockets as the one-line helper makes them; tests bring their consumers to the limits."""

import os

from onloop.channels import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")

application = get_asgi_application("tests.project.sockets.limited.websocket_urlpatterns")
