"""The application of `tests.http.site`, for servers that tests start."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.http.settings"

from onloop.asgi import get_asgi_application  # settings come first

application = get_asgi_application()
