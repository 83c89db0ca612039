"""People with tokens, and the ways by which a request comes to the middleware."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.core.cache import cache
from django.db import connections
from django.test import AsyncClient, Client

from tests.asgi.client import Exchange
from tests.asgi.conftest import Project
from tests.asgi.conftest import project as plain_project  # noqa: F401 - a fixture

VIEWS = "tests.tokens.views"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def challenge(self) -> str | None:
        return self.headers.get("www-authenticate")


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache.clear()


@pytest.fixture
async def project(plain_project: Project) -> Project:  # noqa: F811
    """The project with Django's seven middleware and ours behind them."""
    from tests.project.settings import MIDDLEWARE
    from tests.tokens.people import OURS

    project = plain_project
    project.configure(ROOT_URLCONF=VIEWS, MIDDLEWARE=[*MIDDLEWARE, OURS])
    return project


@pytest.fixture
async def ada(project: Project) -> Any:
    from tests.tokens.people import person

    return await person("ada")


@pytest.fixture
async def session(project: Project) -> dict[str, str]:
    """The cookies of Bob, who has logged in and has no token."""
    from django.contrib.auth.models import User

    user = await User.objects.acreate_user("bob")
    client = AsyncClient()
    await client.aforce_login(user)
    return {"sessionid": client.cookies["sessionid"].value}


async def by_onloop(project: Project, *request: Any) -> Answer:
    return await _exchange(project.application, *request)


async def by_djangos_asgi(project: Project, *request: Any) -> Answer:
    return await _exchange(djangos_asgi_application(), *request)


async def _exchange(
    application: Any, method: str, path: str, headers: Any, cookies: Any
) -> Answer:
    exchange = await Exchange(
        application, path, method=method, headers=headers.items(), cookies=cookies
    )
    pairs = [(k.decode().lower(), v.decode()) for k, v in exchange.messages[0]["headers"]]
    return Answer(exchange.status, dict(pairs), exchange.content)


async def by_wsgi(
    project: Project, method: str, path: str, headers: Any, cookies: Any
) -> Answer:
    """Django's synchronous chain, in a thread with stock connections."""

    def call() -> Answer:
        client = Client(raise_request_exception=False, enforce_csrf_checks=True)
        client.cookies.load(cookies)
        response = client.generic(method, path, headers=headers)
        connections.close_all()
        pairs = {name.lower(): value for name, value in response.items()}
        return Answer(response.status_code, pairs, response.content)

    return await asyncio.to_thread(call)


WAYS = {"onloop": by_onloop, "django's asgi": by_djangos_asgi, "wsgi": by_wsgi}


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, project: Project) -> Any:
    """`await ask("/path/", headers)` sends a request by each of the ways, a test for each."""

    async def ask(
        path: str = "/async/",
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        cookies: dict[str, str] | None = None,
    ) -> Answer:
        return await WAYS[request.param](project, method, path, headers or {}, cookies or {})

    return ask
