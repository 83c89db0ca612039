"""Reads what the services say. They belong to others: nothing is taken for granted.

Each reader takes parsed JSON and returns what the page shows. It raises ``Nonsense`` for
anything that is not what it should be.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from panels.problems import Nonsense

MAX_TEXT = 200
MAX_ITEMS = 5


@dataclass(frozen=True)
class Fact:
    name: str
    value: str


@dataclass(frozen=True)
class Reading:
    """One line that says most, and a few facts below it."""

    headline: str
    facts: list[Fact]


def parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # brackets nested deeper than any answer has them
        raise Nonsense("no JSON") from None


def weather(data: Any) -> Reading:
    wind = _field(data, "wind", dict)
    return Reading(
        f"{_number(data, 'temperature', -90, 60):.0f} °C, {_text(data, 'sky')}",
        [
            Fact("Place", _text(data, "place")),
            Fact(
                "Wind", f"{_number(wind, 'speed', 0, 150):.0f} m/s from {_text(wind, 'from')}"
            ),
            Fact("Humidity", f"{_number(data, 'humidity', 0, 100):.0f} %"),
        ],
    )


def rates(data: Any) -> Reading:
    base = _currency(_field(data, "base", str))
    table = _field(data, "rates", dict)
    if not table:
        raise Nonsense("no rates")
    facts = [
        Fact(_currency(name), f"{_number(table, name, 0, 1e9):,.4f}")
        for name in list(table)[:MAX_ITEMS]
    ]
    first = facts.pop(0)
    return Reading(f"1 {base} = {first.value} {first.name}", facts)


def news(data: Any) -> Reading:
    items = _field(data, "items", list)
    if not items:
        return Reading("Nothing new", [])
    facts = [Fact(_text(item, "at"), _text(item, "title")) for item in items[:MAX_ITEMS]]
    first = facts.pop(0)
    return Reading(first.value, facts)


def _field(data: Any, name: str, kind: type) -> Any:
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, kind):
        raise Nonsense(f"{name!r} is no {kind.__name__}")
    return value


def _text(data: Any, name: str) -> str:
    # What cannot be printed may be half a character, which cannot even be sent.
    shown = (char if char.isprintable() else " " for char in _field(data, name, str))
    text = " ".join("".join(shown).split())
    if not text or len(text) > MAX_TEXT:
        raise Nonsense(f"{name!r} is no line of text")
    return text


def _number(data: Any, name: str, least: float, most: float) -> float:
    value = data.get(name) if isinstance(data, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Nonsense(f"{name!r} is no number")
    # Compared first: a whole number of a thousand digits is no float.
    if not least <= value <= most or math.isnan(value):
        raise Nonsense(f"{name!r} is out of range")
    return float(value)


def _currency(name: str) -> str:
    if not re.fullmatch("[A-Z]{3}", name):
        raise Nonsense("no currency")
    return name
