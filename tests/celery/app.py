"""The Celery app of the tests: as `celery.py` of a project, with its one line for Onloop.

`ONLOOP_TEST_BROKER` is the URL of the Redis that is broker and result backend.
"""

import json
import os

from celery import Celery

app = Celery("tests", task_cls="onloop.celery:Task", include=["tests.celery.tasks"])

URL = os.environ.get("ONLOOP_TEST_BROKER", "redis://127.0.0.1:1")
# Seconds after which what a killed worker had comes back; an hour by default.
VISIBILITY_S = 3

app.conf.update(
    broker_url=URL,
    result_backend=URL,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": VISIBILITY_S},
    **json.loads(os.environ.get("ONLOOP_TEST_CELERY", "{}")),
)
