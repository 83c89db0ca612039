"""Tasks of a project that asks other services."""

import sys

from celery import shared_task

from onloop import http
from onloop.http.clients import tls


@shared_task
async def ask(url):
    """What was loaded when the task began, and what it is told."""
    loaded = [tls.cache_info().misses, "anyio._backends._asyncio" in sys.modules]
    text = (await http.client().get(url)).text
    return [*loaded, text, tls.cache_info().misses]
