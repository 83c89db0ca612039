"""The ASGI application: pages and sockets. A stock Django project has another import."""

import os

from workspace import environment, requestid, sockets

if environment.flag("STOCK", default=False):  # to compare with
    from workspace.stock import get_asgi_application
else:
    from onloop.channels import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

application = get_asgi_application("rooms.routing.websocket_urlpatterns")
application = requestid.for_sockets(sockets.without_database(application))
