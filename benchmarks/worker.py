"""A process that holds one contender: orders on stdin, answers on stdout, one JSON a line.

Order: `{"endpoint": "row", "at_once": 20, "seconds": 1.0}`. Answer: how many requests were
answered, in how much time and CPU time, and how many were sent in all (for the update's count).
With `"threads": true` also how many threads the process had in the middle of it.
"""

import asyncio
import contextlib
import gc
import json
import os
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from .clients import AsgiClient, Lifespan, WsgiClient
from .contenders import CONTENDERS
from .endpoints import ENDPOINTS
from .http_client import HttpClient
from .pinning import pin

VERIFIED = 3


async def cell(
    client: AsgiClient | WsgiClient | HttpClient, order: dict[str, Any]
) -> dict[str, Any]:
    """Verify, warm up, time."""
    endpoint, at_once = ENDPOINTS[order["endpoint"]], order["at_once"]
    sent = 0
    for _ in range(VERIFIED):
        sent += await client.verify(endpoint)
    sent += await client.run(endpoint, at_once, max(order["seconds"] / 4, endpoint.warm_up_s))
    gc.collect()
    threads: list[int] = []
    if order.get("threads"):
        # Less the one that counts, which is there for that alone.
        count_them = threading.Timer(
            order["seconds"] / 2, lambda: threads.append(threading.active_count() - 1)
        )
        count_them.start()
    cpu, begin = time.process_time(), time.perf_counter()
    count = await client.run(endpoint, at_once, order["seconds"])
    elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu
    sent += count
    return {"count": count, "elapsed": elapsed, "cpu": cpu, "sent": sent, "threads": threads}


async def serve(name: str, answers: TextIO) -> None:
    contender = CONTENDERS[name]
    application = contender.load()
    client = WsgiClient(application) if contender.wsgi else AsgiClient(application)
    lifespan = contextlib.nullcontext() if contender.wsgi else Lifespan(application)
    async with lifespan:
        print(json.dumps({"ready": contender.versions()}), file=answers, flush=True)
        # The loop runs on between orders, as it would in a server.
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                answer = await cell(client, json.loads(line))
            except Exception:  # noqa: BLE001 - the parent is to hear of it
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=answers, flush=True)


def begin() -> tuple[str, TextIO]:
    """Take the place that the parent assigned; return the name, and where answers go."""
    # What a contender prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _, name, cores = sys.argv
    pin(json.loads(cores))
    return name, answers


def main() -> None:
    asyncio.run(serve(*begin()))


if __name__ == "__main__":
    main()
