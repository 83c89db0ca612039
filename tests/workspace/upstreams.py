"""The three services that the panels show, as real servers that do what they are told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from tests.http.upstream import Seen, Upstream

GOOD = {
    "weather": {
        "place": "Roof",
        "temperature": 14.4,
        "sky": "light rain",
        "wind": {"speed": 5, "from": "west"},
        "humidity": 71,
    },
    "rates": {"base": "EUR", "rates": {"USD": 1.0873, "GBP": 0.86, "JPY": 1162.5}},
    "news": {
        "items": [
            {"at": "09:15", "title": "<b>Bridge</b> & tunnel open"},
            {"at": "09:00", "title": "Fog"},
        ]
    },
}
HEADLINES = {
    "weather": "14 °C, light rain",
    "rates": "1 EUR = 1.0873 USD",
    "news": "<b>Bridge</b> & tunnel open",
}


class Service(Upstream):
    """A service. `plan`: a body to send, or a path of `Upstream`; `hold` waits for `release()`
    and then sends what is right."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.good = json.dumps(GOOD[name]).encode()
        self.plan: bytes | str = self.good

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        plan = self.plan
        if plan == "/hold":
            await self._released.wait()
            plan = self.good
        if isinstance(plan, str):
            return await super()._answer(replace(seen, path=plan), writer)
        # Two bytes that no other body begins with.
        coding = "Content-Encoding: gzip\r\n" if plan[:2] == b"\x1f\x8b" else ""
        head = f"HTTP/1.1 200 Told\r\n{coding}Content-Length: {len(plan)}\r\n\r\n"
        writer.write(head.encode() + plan)
        await writer.drain()
        return True


@dataclass
class Services:
    weather: Service
    rates: Service
    news: Service

    @property
    def all(self) -> list[Service]:
        return [self.weather, self.rates, self.news]

    def under_way(self) -> int:
        return sum(service.under_way for service in self.all)

    def asked(self) -> int:
        return sum(len(service.requests) for service in self.all)

    def plan(self, plan: bytes | str | None = None) -> None:
        """Tell all of them the same; without one, to do what is right."""
        for service in self.all:
            service.plan = service.good if plan is None else plan

    def environment(self) -> dict[str, str]:
        return {
            "WEATHER_URL": f"{self.weather.url}/now?key=a-secret",
            "RATES_URL": f"{self.rates.url}/euro",
            "NEWS_URL": f"{self.news.url}/",
        }


@contextmanager
def services() -> Iterator[Services]:
    with ExitStack() as stack:

        def started(name: str) -> Service:
            service = Service(name)
            service.start()
            stack.callback(service.stop)
            return service

        yield Services(*(started(name) for name in GOOD))
