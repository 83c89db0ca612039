"""The Celery app of the tests: as `celery.py` of a project, with its one line for Onloop.

`ONLOOP_TEST_BROKER` is the URL of the Redis that is broker and result backend, and
`ONLOOP_TEST_LOOP` may be "uvloop".
"""

import asyncio
import json
import os

from celery import Celery

if os.environ.get("ONLOOP_TEST_LOOP") == "uvloop":
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

app = Celery("tests", task_cls="onloop.celery:Task", include=["tests.celery.tasks"])

URL = os.environ.get("ONLOOP_TEST_BROKER", "redis://127.0.0.1:1")

app.conf.update(
    broker_url=URL,
    result_backend=URL,
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("ONLOOP_TEST_CELERY", "{}")),
)


@app.task
async def twice(number):
    """As `@app.task` makes them, `tests.celery.tasks` as `@shared_task` does."""
    await asyncio.sleep(0)
    return 2 * number
