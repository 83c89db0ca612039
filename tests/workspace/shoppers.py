"""People in the example's shop, each with a session, a browser's cookies and a basket."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, WORKSPACE

# A token as the service would make one, for cookie and forms.
CSRF = secrets.token_hex(16)

MAKE = """
import json, sys
from django.contrib.auth import get_user_model
from django.test import Client
from accounts.models import Profile

sessions = []
for name, role in json.loads(sys.argv[1]):
    user = get_user_model().objects.create(username=name, email=f"{name}@example.org")
    Profile.objects.create(user=user, role=role)
    client = Client()
    client.force_login(user)
    sessions.append(client.cookies["sessionid"].value)
print(json.dumps(sessions))
"""


def run(env: dict[str, str], script: str, *arguments: str) -> str:
    """What a script prints that has the service's Django set up."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{script}", *arguments],
        cwd=WORKSPACE,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Shopper:
    """Somebody who sends the forms of the pages, as a browser does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def post(self, path: str, **form: object) -> httpx.Response:
        return await self.client.post(path, data={**form, "csrfmiddlewaretoken": CSRF})

    async def add(self, sku: str, quantity: int = 1) -> None:
        added = await self.post("/basket/add/", sku=sku, quantity=quantity)
        assert (added.status_code, added.headers["location"]) == (302, "/basket/")

    async def form(self) -> dict[str, str]:
        """What the basket's page would send to order."""
        page = (await self.client.get("/basket/")).text
        hidden = re.findall(r'name="(key|seen)" value="([^"]+)"', page)
        assert len(hidden) == 2, page
        return {**dict(hidden), "name": "A shopper", "email": "shopper@example.org"}


@asynccontextmanager
async def shoppers(
    server: AsgiServer, env: dict[str, str], *roles: str
) -> AsyncIterator[list[Shopper]]:
    """New accounts with these roles, logged in."""
    accounts = [(f"shopper-{uuid.uuid4().hex[:12]}", role) for role in roles]
    async with AsyncExitStack() as stack:
        everybody = []
        for session in json.loads(run(env, MAKE, json.dumps(accounts))):
            client = httpx.AsyncClient(
                base_url=server.url,
                timeout=HTTP_TIMEOUT_S,
                cookies={"sessionid": session, "csrftoken": CSRF},
            )
            everybody.append(Shopper(await stack.enter_async_context(client)))
        yield everybody
