"""Celery, where ``CELERY_BROKER_URL`` is set: ``celery -A workspace worker``.

A worker needs the same environment as the service, ``MEDIA_ROOT`` on the same disk included.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import before_task_publish, task_prerun

from workspace import requestid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

app = Celery("workspace", task_cls="onloop.celery:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@before_task_publish.connect
def send_request_id(headers: dict[str, Any], **kwargs: Any) -> None:
    headers["request_id"] = requestid.current.get()


@task_prerun.connect
def take_over_request_id(task: Any, **kwargs: Any) -> None:
    """What a worker logs has the id of the request that wanted it."""
    requestid.begin(getattr(task.request, "request_id", None))
