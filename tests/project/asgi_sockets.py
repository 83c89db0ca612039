"""The project with sockets, as the one-line helper makes it."""

import os

from onloop.channels import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")

application = get_asgi_application("tests.project.sockets.routing.websocket_urlpatterns")
