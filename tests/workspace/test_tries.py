"""The example slows wrong passwords down, in all its processes together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.redis import RedisServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, PASSWORD, Starting

# Seconds: so long that no stretch of time ends in which log-ins are counted.
LONG = "999999999"
AT_ONCE = 12
TRIES = 5


@pytest.fixture
async def processes(
    starting: Starting, redis_server: RedisServer
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of two that share a cache; each has loaded the form."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            server = starting(REDIS_URL=redis_server.url, LOG_IN_WINDOW=LONG)
            client = httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S)
            clients.append(await stack.enter_async_context(client))
            await client.get("/accounts/login/")
        yield clients


async def log_in(
    client: httpx.AsyncClient, username: str, password: str, address: str = "192.0.2.7"
) -> httpx.Response:
    token = client.cookies["csrftoken"]
    form = {"username": username, "password": password, "csrfmiddlewaretoken": token}
    return await client.post(
        "/accounts/login/",
        data=form,
        # Nothing of a session, and as a proxy tells it: uvicorn believes one on this machine.
        headers={"Cookie": f"csrftoken={token}", "X-Forwarded-For": address},
    )


async def test_of_many_at_once_no_more_are_looked_at_than_are_allowed(
    processes: list[httpx.AsyncClient],
) -> None:
    one, other = processes
    answers = await asyncio.gather(
        *(log_in(processes[number % 2], "demo", "wrong") for number in range(AT_ONCE))
    )
    assert Counter(answer.status_code for answer in answers) == {
        200: TRIES,
        429: AT_ONCE - TRIES,
    }
    locked = await log_in(other, "demo", PASSWORD)
    assert locked.status_code == 429
    assert "Too many wrong passwords" in locked.text
    assert int(locked.headers["retry-after"]) > 0
    # Nobody else is locked out: not from that address, nor that account from elsewhere.
    assert (await log_in(one, "robin", PASSWORD)).status_code == 302
    assert (await log_in(one, "demo", PASSWORD, "192.0.2.8")).status_code == 302
