"""The same project under WSGI, where sync views keep Django's stock behaviour."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

application = get_wsgi_application()
