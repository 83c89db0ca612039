"""The tasks that `benchmarks.celery` measures: as Onloop has them, and as stock Celery."""

import asyncio
import os

import django
from asgiref.sync import async_to_sync
from celery import Celery
from django.conf import settings

settings.configure(INSTALLED_APPS=["onloop"], DATABASES={})
django.setup()

URL = os.environ["ONLOOP_BENCH_REDIS"]
TASK_CLS = "onloop.celery:Task" if os.environ["ONLOOP_BENCH_CELERY"] == "onloop" else None

app = Celery("benchmark", broker=URL, backend=URL, task_cls=TASK_CLS)
app.conf.broker_connection_retry_on_startup = True


async def pause(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return id(asyncio.get_running_loop())


if TASK_CLS is not None:
    wait = app.task(name="wait")(pause)
else:

    @app.task(name="wait")
    def wait(seconds: float) -> int:
        """What `async def` code is run by in a Celery task without Onloop."""
        return async_to_sync(pause)(seconds)
