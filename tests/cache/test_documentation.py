"""The examples of `docs/cache.md`, run as they stand there."""

from __future__ import annotations

import asyncio
import re
import types

from django.core.cache import caches
from django.test import override_settings

from tests.postgres import ROOT


def _page():
    """The names that the page's examples define."""
    text = (ROOT / "docs" / "cache.md").read_text()
    page = types.SimpleNamespace()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        empty = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(empty + block[1], "docs/cache.md", "exec"), vars(page))
    return page


page = _page()


async def test_one_fetches_the_rates_for_all(redis_server, monkeypatch):
    fetched = []

    async def fetch_rates():
        fetched.append(1)
        await asyncio.sleep(0)
        return await original()

    original = page.fetch_rates
    monkeypatch.setitem(page.rates.__globals__, "fetch_rates", fetch_rates)
    page.CACHES["default"]["LOCATION"] = redis_server.url
    with override_settings(CACHES=page.CACHES):
        assert await asyncio.gather(*(page.rates() for _ in range(5))) == [[1.1, 0.9]] * 5
        assert await caches["default"].aget("rates") == [1.1, 0.9]
    assert fetched == [1]
