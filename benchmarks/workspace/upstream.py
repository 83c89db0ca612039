"""The services that the panels show, each of which takes 20 ms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

TAKES_S = 0.02
SAY = {
    "weather": {
        "place": "At the warehouse",
        "temperature": 11,
        "sky": "overcast",
        "wind": {"speed": 4, "from": "west"},
        "humidity": 70,
    },
    "rates": {"base": "EUR", "rates": {"USD": 1.09, "GBP": 0.86}},
    "news": {"items": [{"at": "10:15", "title": "The ring road is open again"}]},
}


async def answer(request: web.Request) -> web.Response:
    await asyncio.sleep(TAKES_S)
    return web.json_response(SAY[request.match_info["name"]])


@asynccontextmanager
async def upstream(port: int) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()
