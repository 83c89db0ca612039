"""What the demo's three services say: made up, and the same for everybody at the same second.

``rates`` is slow, and ``news`` fails for ten seconds of every forty, in one of three ways.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

QUICK_S, SLOW_S = 0.3, 1.2
PERIOD_S, FAILS_FOR_S = 40, 10

SKIES = ["clear sky", "a few clouds", "overcast", "light rain", "showers", "fog"]
WINDS = ["north", "north-east", "east", "south-east", "south", "south-west", "west"]
RATES = {"USD": 1.09, "GBP": 0.86, "CHF": 0.95, "JPY": 162.5}
TITLES = [
    "The ring road is open again in both directions",
    "Parcels to the islands take a day longer",
    "Cardboard gets cheaper",
    "Ferries run by the winter timetable",
    "The fair for home and garden is sold out",
    "Customs opens a second counter",
    "More bicycles than cars at the harbour bridge",
    "Pallets are collected on Tuesdays from now on",
]


@dataclass(frozen=True)
class Answer:
    """``body``: JSON, or bytes that are none. ``after_s``: None if it never comes."""

    body: Any
    status: int = 200
    after_s: float | None = 0.0


def weather(now: datetime) -> Answer:
    hours = now.timestamp() / 3600
    step = int(hours * 4)
    return Answer(
        {
            "place": "At the warehouse",
            "temperature": round(11 + 6 * math.sin((hours % 24 - 9) / 24 * math.tau), 1),
            "sky": SKIES[step * 7 % len(SKIES)],
            "wind": {"speed": 2 + step * 5 % 9, "from": WINDS[step * 3 % len(WINDS)]},
            "humidity": 55 + step * 11 % 40,
        },
        after_s=QUICK_S,
    )


def rates(now: datetime) -> Answer:
    turn = now.timestamp() / 600
    table = {
        name: round(rate * (1 + 0.01 * math.sin(turn + number)), 4)
        for number, (name, rate) in enumerate(RATES.items())
    }
    return Answer({"base": "EUR", "rates": table}, after_s=SLOW_S)


def news(now: datetime) -> Answer:
    period, second = divmod(int(now.timestamp()), PERIOD_S)
    if second >= PERIOD_S - FAILS_FOR_S:
        return [
            Answer({"error": "out of order"}, status=503),
            Answer(b"<!doctype html><title>It works!</title>"),
            Answer(None, after_s=None),
        ][period % 3]
    quarter = now.replace(minute=now.minute // 15 * 15)
    number = int(quarter.timestamp()) // 900
    items = [
        {
            "at": f"{quarter - timedelta(minutes=15 * back):%H:%M}",
            "title": TITLES[(number - back) * 3 % len(TITLES)],
        }
        for back in range(4)
    ]
    return Answer({"items": items}, after_s=QUICK_S)


SERVICES: dict[str, Callable[[datetime], Answer]] = {
    "weather": weather,
    "rates": rates,
    "news": news,
}
