"""The four ways by which a request comes to middleware."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.test import AsyncClient, Client

from tests.asgi.client import Exchange
from tests.asgi.conftest import Project, exceptions, project, started_threads  # noqa: F401 - fixtures


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


async def by_onloop(project: Project, method: str, path: str, accept: str) -> Answer:  # noqa: F811
    return _of(await _exchange(project.application, method, path, accept))


async def by_djangos_asgi(project: Project, method: str, path: str, accept: str) -> Answer:  # noqa: F811
    return _of(await _exchange(djangos_asgi_application(), method, path, accept))


async def by_client(project: Project, method: str, path: str, accept: str) -> Answer:  # noqa: F811
    """Django's synchronous chain, as under WSGI."""

    def call() -> Answer:
        client = Client(raise_request_exception=False, enforce_csrf_checks=True)
        response = client.generic(method, path, headers={"accept": accept})
        content = b"".join(response)
        response.close()
        return Answer(response.status_code, _lower(response.items()), content)

    return await asyncio.to_thread(call)


async def by_async_client(project: Project, method: str, path: str, accept: str) -> Answer:  # noqa: F811
    client = AsyncClient(raise_request_exception=False, enforce_csrf_checks=True)
    response: Any = await client.generic(method, path, headers={"accept": accept})
    if getattr(response, "is_async", False):
        content = b"".join([part async for part in response])
    else:
        content = b"".join(response)
    await asyncio.to_thread(response.close)
    return Answer(response.status_code, _lower(response.items()), content)


def _exchange(application: Any, method: str, address: str, accept: str) -> Exchange:
    path, _, query = address.partition("?")
    headers = [("accept", accept)]
    return Exchange(application, path, method=method, query=query, headers=headers)


def _of(exchange: Exchange) -> Answer:
    pairs = [(k.decode(), v.decode()) for k, v in exchange.messages[0]["headers"]]
    return Answer(exchange.status, _lower(pairs), exchange.content)


def _lower(pairs: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in pairs}


WAYS = {
    "onloop": by_onloop,
    "django's asgi": by_djangos_asgi,
    "client": by_client,
    "async client": by_async_client,
}


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, project: Project) -> Any:  # noqa: F811
    """`await ask("/path/")` sends a request by each of the ways, a test for each."""

    async def ask(
        path: str, *, method: str = "GET", accept: str = "application/json"
    ) -> Answer:
        return await WAYS[request.param](project, method, path, accept)

    return ask
