"""The example's switch to stock Django: what the load's virtual users do works on both."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from benchmarks.workspace import __main__ as load
from benchmarks.workspace.upstream import SAY, upstream
from benchmarks.workspace.users import Seen, User
from tests.database import TestDatabases
from tests.postgres import ROOT, free_port
from tests.redis import RedisServer
from tests.servers import AsgiServer
from tests.workspace.conftest import WORKSPACE, Starting

SESSIONS = ROOT / "benchmarks" / "workspace" / "sessions.py"
USERS = 3
# Against hanging: two services are started.
pytestmark = pytest.mark.timeout(240)


def make_users(env: dict[str, str], prefix: str) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, str(SESSIONS), str(USERS), prefix],
        cwd=WORKSPACE,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@asynccontextmanager
async def users(
    server: AsgiServer, env: dict[str, str], prefix: str
) -> AsyncIterator[list[User]]:
    seen = Seen()
    async with AsyncExitStack() as stack:
        people = await asyncio.to_thread(make_users, env, prefix)
        found = []
        for number, one in enumerate(people):
            user = User(server.url, one["session"], one["room"], number)
            user.seen = seen
            stack.push_async_callback(user.leave)
            found.append(user)
        yield found


@pytest.mark.parametrize("stock", ["1", "0"])
async def test_all_that_a_virtual_user_does_works(
    stock: str,
    database: TestDatabases,
    workspace_env: dict[str, str],
    redis_server: RedisServer,
    starting: Starting,
) -> None:
    if database.place is None:
        pytest.skip("The switch is for PostgreSQL.")
    port = free_port()
    env = {
        "REDIS_URL": redis_server.url,
        "CELERY_BROKER_URL": redis_server.url,
        **{f"{name.upper()}_URL": f"http://127.0.0.1:{port}/{name}" for name in SAY},
    }
    server = starting(**env, STOCK=stock)
    # A hook of Onloop's lifespan, which stock Django has none of.
    assert ("workspace.lifespan" in server.log_text()) == (stock == "0")
    async with upstream(port), users(server, workspace_env, f"visitor{stock}") as visitors:
        for user in visitors[:2]:
            await user.enter()
        await asyncio.gather(*(load.warm([user]) for user in visitors))
        seen = visitors[0].seen
        # A message of each that has a socket, heard by both.
        assert seen.heard >= 2
        assert not seen.errors


def test_the_report_has_a_row_for_each_load_and_a_line_for_each_action() -> None:
    seen = Seen(took_ms={"chat": [1.0, 2.0, 3.0]}, heard=6)
    seen.errors["order: status 500"] += 1
    some, none = load.Result(seen, 2.0, 9, 100.0), load.Result(Seen(), 2.0, 9, 100.0)
    options = load.arguments(["--users", "10", "--seconds", "2", "--rest", "3", "0.5"])
    text = load.report(options, {"A": [none, some], "B": [none, none]})
    assert "| 0.5 s | A | 2 | 3 | 2 | 3 | 9 | 100 | 1 |" in text
    assert "| | A, 3 s | B, 3 s | A, 0.5 s | B, 0.5 s |" in text
    assert "| chat | nan / nan | nan / nan | 2 / 3 | nan / nan |" in text
