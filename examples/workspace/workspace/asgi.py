"""The ASGI application. Against a stock Django project one import differs."""

import os

from onloop.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

application = get_asgi_application()
