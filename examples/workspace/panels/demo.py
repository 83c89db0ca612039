"""Runs the demo's own services, for those that no setting has an address of.

They run in this process, from the lifespan's start to its end: so they are there under any
ASGI server, in each worker, and whatever ends the process ends them. Each listens on a free
port of the loopback interface, and is asked over a socket like any service elsewhere. Each on
its own, since ``onloop.http`` counts places and failures by host and port: what one of them
does is not held against the others.

A few lines of HTTP in place of a second uvicorn: that would take Ctrl-C for itself, and change
the log of the first.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from django.conf import settings

from onloop import http
from panels.made_up import SERVICES, Answer

LOOPBACK = "127.0.0.1"
# Seconds for a request to arrive, and for an answer that never comes.
REQUEST_S, FOREVER_S = 10, 60

logger = logging.getLogger(__name__)

# Of the services that run here, by name.
addresses: dict[str, str] = {}


@asynccontextmanager
async def services() -> AsyncIterator[None]:
    """For ``ONLOOP["LIFESPAN"]``: what runs meanwhile is in ``addresses``."""
    async with AsyncExitStack() as stack:
        for name in SERVICES:
            if settings.PANELS[name] is None:
                addresses[name] = await stack.enter_async_context(_service(name))
                stack.callback(addresses.pop, name)
        if addresses:
            _go_past_proxies()
            logger.info("The demo's own services: %s", ", ".join(addresses.values()))
        # The certificates of the authorities are read now, not in the first request; and the
        # proxies of the environment, so after the line above.
        http.client()
        yield


@asynccontextmanager
async def _service(name: str) -> AsyncIterator[str]:
    under_way: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(name, reader, writer))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/{name}"
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _serve(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one answer, and the connection is closed."""
    try:
        async with asyncio.timeout(REQUEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
        known = head.startswith(f"GET /{name} ".encode())
        answer = SERVICES[name](datetime.now(UTC)) if known else Answer({}, status=404)
        if await _leaves_within(reader, answer.after_s):
            return
        writer.write(_message(answer))
        await writer.drain()
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
        pass  # whoever asks has left, or speaks no HTTP
    finally:
        writer.close()


async def _leaves_within(reader: asyncio.StreamReader, after_s: float | None) -> bool:
    """Wait so long; return early, and True, if whoever asks does not wait for it."""
    try:
        async with asyncio.timeout(FOREVER_S if after_s is None else after_s):
            await reader.read(1)
    except TimeoutError:
        return after_s is None
    return True


def _message(answer: Answer) -> bytes:
    is_json = not isinstance(answer.body, bytes)
    body = json.dumps(answer.body).encode() if is_json else answer.body
    lines = [
        f"HTTP/1.1 {answer.status} {'OK' if answer.status == 200 else 'Failed'}",
        f"Content-Type: {'application/json' if is_json else 'text/html; charset=utf-8'}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _go_past_proxies() -> None:
    """A proxy of the environment does not reach this machine's loopback interface."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if LOOPBACK not in others.split(","):
        # The first of the two is the one that counts where both are set.
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{others},{LOOPBACK}".strip(",")
