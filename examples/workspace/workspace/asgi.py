"""The ASGI application: pages and sockets. A stock Django project has another import."""

import os

from onloop.channels import get_asgi_application
from workspace import requestid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

application = requestid.for_sockets(get_asgi_application("rooms.routing.websocket_urlpatterns"))
