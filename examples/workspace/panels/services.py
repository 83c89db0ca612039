"""Asks three services at once, and says of each what came of it.

What a service has said last is remembered, in the memory of this process: when it fails, that
is shown with its age.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from django.conf import settings

from onloop import http
from onloop.http import Result
from panels import demo, readings
from panels.problems import NoAddress, Nonsense, in_words
from panels.readings import Reading

MAX_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A service: its name in ``settings.PANELS``, and how its JSON is read."""

    name: str
    title: str
    read: Callable[[Any], Reading]


SOURCES = [
    Source("weather", "Weather", readings.weather),
    Source("rates", "Exchange rates", readings.rates),
    Source("news", "News", readings.news),
]


@dataclass(frozen=True)
class Known:
    """A reading, and when it was taken, by the calendar and by the monotonic clock."""

    reading: Reading
    at: datetime
    clock: float


_last: dict[str, Known] = {}


@dataclass(frozen=True)
class Panel:
    """What is shown of one service.

    ``state``: ``current``, ``old`` (it failed, this is what it said before) or ``missing``.
    ``problem``: why it is not current, in words for the page. ``note``: from when it is.
    """

    name: str
    title: str
    state: Literal["current", "old", "missing"]
    reading: Reading | None
    problem: str
    note: str
    at: datetime | None
    age_s: int | None
    took_s: float


@dataclass(frozen=True)
class Board:
    panels: list[Panel]
    took_s: float

    @property
    def summary(self) -> str:
        late = [panel.title for panel in self.panels if panel.state != "current"]
        if not late:
            return f"All {len(self.panels)} panels are current."
        current = len(self.panels) - len(late)
        return f"Current: {current} of {len(self.panels)} panels. Not: {', '.join(late)}."

    @property
    def timing(self) -> str:
        in_turn_s = sum(panel.took_s for panel in self.panels)
        return (
            f"Asked at once: {self.took_s:.2f} s. "
            f"One after the other it would have been {in_turn_s:.2f} s."
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "summary": self.summary, "timing": self.timing}


async def board() -> Board:
    """Ask all services at once, within ``PANELS_DEADLINE_S`` seconds. Whatever they do, there
    is a board: a panel whose service fails says so."""
    began = time.monotonic()
    results = await http.fan_out(
        [partial(_ask, source) for source in SOURCES],
        deadline=settings.PANELS_DEADLINE_S,
        at_once=len(SOURCES),
    )
    panels = [_panel(*pair) for pair in zip(SOURCES, results, strict=True)]
    return Board(panels, round(time.monotonic() - began, 3))


async def _ask(source: Source) -> Known:
    """Raises ``NoAddress``, ``Nonsense`` or an ``httpx.HTTPError``."""
    address = settings.PANELS[source.name] or demo.addresses.get(source.name)
    if address is None:
        raise NoAddress(source.name)
    reading = source.read(readings.parse(await _body(address)))
    known = _last[source.name] = Known(reading, datetime.now(UTC), time.monotonic())
    return known


async def _body(address: str) -> bytes:
    # As it comes: a few compressed bytes could become gigabytes.
    plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with http.client().stream("GET", address, headers=plain) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise Nonsense(f"more than {MAX_BYTES} bytes")
    return bytes(body)


def _panel(source: Source, result: Result[Known]) -> Panel:
    known = result.value_or(_last.get(source.name))
    if result.error is None:
        state, problem = "current", ""
    else:
        state, problem = (
            "old" if known else "missing",
            _problem(source, result.error, result.took_s),
        )
    return Panel(
        name=source.name,
        title=source.title,
        state=state,
        reading=known and known.reading,
        problem=problem,
        note=_note(known, state),
        at=known and known.at,
        age_s=known and int(time.monotonic() - known.clock),
        took_s=round(result.took_s, 3),
    )


def _note(known: Known | None, state: str) -> str:
    if known is None:
        return ""
    ago = f", {_ago(int(time.monotonic() - known.clock))}" if state == "old" else ""
    return f"From {known.at:%H:%M:%S} UTC{ago}."


def _problem(source: Source, error: Exception, waited_s: float) -> str:
    words = in_words(error, waited_s)
    if words is None:
        logger.error("The panel %r failed.", source.name, exc_info=error)
        return "It cannot be shown, by a mistake of this site."
    # Not the error's own text: it may have the address in it, and that a key.
    what = error if isinstance(error, Nonsense) else type(error).__name__
    logger.warning("The panel %r is not current: %s (%s)", source.name, words, what)
    return words


def _ago(age_s: int) -> str:
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if number := age_s // length_s:
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"
