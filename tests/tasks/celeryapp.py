"""The Celery application of the test project: `celery -A tests.tasks.celeryapp worker`."""

import asyncio
import os

from celery import Celery

if os.environ.get("ONLOOP_TEST_LOOP") == "uvloop":
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

URL = os.environ["ONLOOP_TEST_CELERY"]

app = Celery("tests", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600, "max_retries": 1},
    redis_socket_connect_timeout=1,
    result_expires=600,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
)
app.autodiscover_tasks()
app.set_default()
