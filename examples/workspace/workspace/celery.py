"""Celery, where ``CELERY_BROKER_URL`` is set: ``celery -A workspace worker``.

A worker needs the same environment as the service, ``MEDIA_ROOT`` on the same disk included.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

app = Celery("workspace", task_cls="onloop.celery:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
