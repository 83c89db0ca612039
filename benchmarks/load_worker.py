"""A process that sends requests to a server: orders as those of `worker`, with a `port`."""

import asyncio
import json
import sys
import traceback
from typing import TextIO

from .http_client import HttpClient
from .worker import begin, cell


async def load(answers: TextIO) -> None:
    print(json.dumps({"ready": {}}), file=answers, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            answer = await cell(HttpClient(order["port"]), order)
        except Exception:  # noqa: BLE001 - the parent is to hear of it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _, answers = begin()
    asyncio.run(load(answers))
