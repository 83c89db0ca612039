"""What the first request to another service needs is there when the server has started."""

from __future__ import annotations

import pytest

from tests.fresh import project

SITE = """
import asyncio, sys
from django.urls import path
from tests.asgi.client import Lifespan
from onloop.asgi import get_asgi_application

class Urls:
    def __getattr__(self, name):
        if name != "urlpatterns":
            raise AttributeError(name)
        {imports}
        return []

sys.modules["urls_of_this"] = Urls()

async def main():
    lifespan = Lifespan(get_asgi_application())
    assert await lifespan.startup() == {{"type": "lifespan.startup.complete"}}
    {work}
    await lifespan.shutdown()

asyncio.run(main())
"""

FIRST_REQUEST = """
    from onloop.http import clients
    before = set(sys.modules)
    print(clients.tls.cache_info().currsize)
    for _ in range(2):
        print((await clients.client().get("{url}/ok")).text)
        print(sorted(set(sys.modules) - before), clients.tls.cache_info().misses)
"""


@pytest.fixture
def site():
    def run(imports, work):
        return project(
            SITE.format(imports=imports, work=work.strip()), ROOT_URLCONF="urls_of_this"
        )

    return run


def test_the_first_request_imports_nothing_and_reads_no_certificates(site, upstream):
    told = site("import onloop.http", FIRST_REQUEST.format(url=upstream.url))
    assert told.splitlines() == ["1", "ok", "[] 1", "ok", "[] 1"]


def test_a_project_that_asks_nobody_loads_nothing(site):
    told = site("pass", 'print([name for name in ("httpx", "anyio") if name in sys.modules])')
    assert told == "[]"
