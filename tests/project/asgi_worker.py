"""The project with consumers on named channels."""

import os

from onloop.channels import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.worker_settings")

application = get_asgi_application(
    "tests.project.sockets.routing.websocket_urlpatterns",
    channel="tests.project.sockets.jobs.channel_names",
)
