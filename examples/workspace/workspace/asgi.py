"""The ASGI application: pages and sockets. A stock Django project has another import."""

import os

from onloop.channels import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

application = get_asgi_application("rooms.routing.websocket_urlpatterns")
