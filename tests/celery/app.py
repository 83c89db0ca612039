"""The Celery app of the tests: as `celery.py` of a project, with its one line for Onloop.

`ONLOOP_TEST_BROKER` is the URL of the Redis that is broker and result backend.
"""

import json
import os

from celery import Celery

app = Celery("tests", task_cls="onloop.celery:Task", include=["tests.celery.tasks"])

URL = os.environ.get("ONLOOP_TEST_BROKER", "redis://127.0.0.1:1")

app.conf.update(
    broker_url=URL,
    result_backend=URL,
    broker_connection_retry_on_startup=True,
    # What a killed worker had comes back soon.
    broker_transport_options={"visibility_timeout": 3, "unacked_restore_limit": None},
    task_store_errors_even_if_ignored=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    **json.loads(os.environ.get("ONLOOP_TEST_CELERY", "{}")),
)
