"""The example service tells whoever watches over it that it is live and ready."""

from __future__ import annotations

import httpx


async def test_the_service_is_live_and_ready(ahttp: httpx.AsyncClient) -> None:
    assert (await ahttp.get("/health/live/")).json() == {"status": "ok"}
    ready = await ahttp.get("/health/ready/")
    assert ready.status_code == 200
    assert ready.json()["databases"] == {"default": "ok"}
