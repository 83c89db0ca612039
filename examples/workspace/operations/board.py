"""What is known of all processes, and how it is shown: as tables of text, and as lines.

It knows no network and waits for nothing. Ages are measured by this process's clock; the clocks
of others serve for differences only.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from operations.samples import Sample, connections_in_use, of_pools, of_tasks
from operations.words import ago, bytes_, count, ms, per_second

# Two minutes, if there is one every two seconds.
KEPT_S = 120.0
# After so many seconds without a word a process is shown as silent, and then not any more.
SILENT_S, GONE_S = 7.0, 30.0

# A number is None where it is not known.
Number = float | None


@dataclass(frozen=True)
class Point:
    heard_at: float
    sample: Sample
    rate: float


@dataclass
class Track:
    """What one process has said lately."""

    name: str
    points: deque[Point] = field(default_factory=deque)

    @property
    def last(self) -> Point:
        return self.points[-1]

    def hear(self, sample: Sample, now: float) -> None:
        while self.points and now - self.points[0].heard_at > KEPT_S:
            self.points.popleft()
        if self.points and now - self.last.heard_at > SILENT_S:
            self.points.clear()  # nobody has looked meanwhile: no line leads over that
        before = self.last.sample if self.points else None
        self.points.append(Point(now, sample, _rate(before, sample)))


def _rate(before: Sample | None, sample: Sample) -> float:
    """Requests a second since the sample before; for the first, over the last minute."""
    times = sample["requests"]["times"]
    if before is not None:
        passed_s = sample["process"]["clock"] - before["process"]["clock"]
        answered = times["count"] - before["requests"]["times"]["count"]
        if passed_s > 0 and answered >= 0:
            return float(answered / passed_s)
    return float(times["recent"]["per_s"])


def _latency(name: str) -> Callable[[Point], Number]:
    def read(point: Point) -> Number:
        seconds = point.sample["requests"]["times"]["recent"][name]
        return None if seconds is None else seconds * 1000

    return read


def _lag(point: Point) -> Number:
    seconds = point.sample["loop"]["lag"]["recent"]["longest_s"]
    return None if seconds is None else seconds * 1000


def _memory(point: Point) -> Number:
    return point.sample["process"]["memory_bytes"]


@dataclass(frozen=True)
class Chart:
    """``total``: what is said of several processes, the sum or the most."""

    key: str
    title: str
    read: Callable[[Point], Number]
    words: Callable[[Number], str]
    total: Callable[[list[float]], float] = max


CHARTS = [
    Chart("rate", "Requests a second", lambda point: point.rate, per_second, sum),
    Chart("latency", "Latency, p95", _latency("p95_s"), ms),
    Chart("lag", "Loop lag, longest", _lag, ms),
    Chart(
        "pool", "Connections in use", lambda point: connections_in_use(point.sample), count, sum
    ),
    Chart("sockets", "Sockets", lambda point: point.sample["sockets"]["open"], count, sum),
    Chart("jobs", "Jobs running", lambda point: of_tasks(point.sample, "running"), count, sum),
    Chart("threads", "Threads", lambda point: point.sample["process"]["threads"], count, sum),
    Chart("memory", "Memory", _memory, bytes_, sum),
]

# The lines of the latency chart where there is one process.
PERCENTILES = {"p50": _latency("p50_s"), "p95": _latency("p95_s"), "p99": _latency("p99_s")}


def _pool(sample: Sample) -> str:
    if not sample.get("pools"):
        return "no pool"
    return f"{connections_in_use(sample)} of {of_pools(sample, 'pool_max')}"


def _waits(sample: Sample) -> str:
    waited = of_pools(sample, "requests_queued")
    if not waited:
        return "none"
    return f"{waited}, {ms(of_pools(sample, 'requests_wait_ms') / waited)} each"


# The rows of the table of processes: what stands before each, and how it is read.
ROWS: list[tuple[str, Callable[[Point], str]]] = [
    ("Requests a second", lambda point: per_second(point.rate)),
    ("Latency, p50", lambda point: ms(_latency("p50_s")(point))),
    ("Latency, p95", lambda point: ms(_latency("p95_s")(point))),
    ("Latency, p99", lambda point: ms(_latency("p99_s")(point))),
    ("Requests under way", lambda point: count(point.sample["requests"]["present"])),
    ("Waiting for a place", lambda point: count(point.sample["requests"]["waiting"])),
    ("Answered so far", lambda point: count(point.sample["requests"]["times"]["count"])),
    ("Errors (5xx) so far", lambda point: count(point.sample["requests"]["statuses"]["5xx"])),
    ("Loop lag, longest", lambda point: ms(_lag(point))),
    ("Stalls so far", lambda point: count(point.sample["loop"]["count"])),
    ("Connections in use", lambda point: _pool(point.sample)),
    ("Waiting for one", lambda point: count(of_pools(point.sample, "requests_waiting"))),
    ("Waits for one so far", lambda point: _waits(point.sample)),
    ("Sockets", lambda point: count(point.sample["sockets"]["open"])),
    ("Jobs running", lambda point: count(of_tasks(point.sample, "running"))),
    ("Jobs waiting", lambda point: count(of_tasks(point.sample, "waiting"))),
    ("Upstream requests", lambda point: count(point.sample["http"]["under_way"])),
    ("Threads", lambda point: count(point.sample["process"]["threads"])),
    ("Memory", lambda point: bytes_(_memory(point))),
    (
        "Up for",
        lambda point: ago(
            point.sample["process"]["at"] - point.sample["process"]["started_at"]
        ),
    ),
]

STALLS_SHOWN = 10


class Board:
    """Hears samples, and says what a page shows."""

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}

    def hear(self, sample: Sample, now: float | None = None) -> None:
        name = sample["process"]["name"]
        track = self._tracks.setdefault(name, Track(name))
        track.hear(sample, time.monotonic() if now is None else now)

    def age(self, name: str, now: float | None = None) -> float:
        """Seconds since a process has said something."""
        if name not in self._tracks:
            return float("inf")
        return (time.monotonic() if now is None else now) - self._tracks[name].last.heard_at

    def view(self, now: float | None = None, jobs: dict[str, int] | None = None) -> Any:
        """What the page shows, as JSON can say it.

        ``jobs``: how many the whole service has, by status; None if that is not known.
        """
        now = time.monotonic() if now is None else now
        for name in [name for name in self._tracks if self.age(name, now) > GONE_S]:
            del self._tracks[name]
        tracks = sorted(self._tracks.values(), key=lambda track: track.name)
        return {
            "type": "board",
            "summary": _summary(tracks, now),
            "troubles": _troubles(tracks, now),
            "processes": [
                {"name": track.name, "silent": _is_silent(track, now)} for track in tracks
            ],
            "charts": [_chart(chart, tracks, now) for chart in CHARTS],
            "tables": {
                "numbers": [
                    [label, *(read(track.last) for track in tracks)] for label, read in ROWS
                ],
                "stalls": _stalls(tracks),
                "upstreams": _upstreams(tracks),
                "jobs": [
                    ["Running", count(jobs and jobs["RUNNING"])],
                    ["Waiting", count(jobs and jobs["READY"])],
                ],
            },
        }


def _is_silent(track: Track, now: float) -> bool:
    return now - track.last.heard_at > SILENT_S


def _summary(tracks: list[Track], now: float) -> str:
    heard = [track.last for track in tracks if not _is_silent(track, now)]
    if not heard:
        return "No process has been heard of yet."
    waits = [value for point in heard if (value := _latency("p95_s")(point)) is not None]
    rate = per_second(sum(point.rate for point in heard))
    many = "1 process" if len(heard) == 1 else f"{len(heard)} processes"
    latency = f", p95 {ms(max(waits))}" if waits else ""
    return f"{many}: {rate} requests a second{latency}."


def _troubles(tracks: list[Track], now: float) -> list[str]:
    """What an operator should look at first, in whole sentences."""
    found = [
        f"{track.name} has said nothing for {ago(now - track.last.heard_at)}: it may be gone."
        for track in tracks
        if _is_silent(track, now)
    ]
    tracks = [track for track in tracks if not _is_silent(track, now)]
    for track in tracks:
        sample = track.last.sample
        if waiting := of_pools(sample, "requests_waiting"):
            found.append(f"{track.name}: {waiting} wait for a database connection.")
        if waiting := sample["requests"]["waiting"]:
            found.append(f"{track.name}: {waiting} requests wait for a place.")
        fresh = [
            stall
            for stall in sample["loop"]["recent"]
            if sample["process"]["at"] - stall["at"] < 60
        ]
        if fresh:
            longest = ms(max(stall["ms"] for stall in fresh))
            found.append(
                f"{track.name}: the event loop was held for up to {longest} in the last minute."
            )
    for title, states in _by_upstream(tracks).items():
        if any(state["state"] == "left alone" for state in states):
            found.append(f"{title} keeps failing, and is left alone.")
    return found


def _chart(chart: Chart, tracks: list[Track], now: float) -> dict[str, Any]:
    lines = [_line(track.name, track, chart.read, now) for track in tracks]
    legend = chart.key == "latency" and len(tracks) == 1
    if legend:
        lines = [_line(name, tracks[0], read, now) for name, read in PERCENTILES.items()]
    heard = [track.last for track in tracks if not _is_silent(track, now)]
    known = [value for point in heard if (value := chart.read(point)) is not None]
    highest = [value for line in lines for _, value in line["points"]]
    return {
        "key": chart.key,
        "title": chart.title,
        "legend": legend,
        "now": chart.words(chart.total(known) if known else None),
        # The lines are of single processes, also where what is now is their sum.
        "peak": ("highest of one: " if len(tracks) > 1 else "highest ")
        + chart.words(max(highest) if highest else None),
        "lines": lines,
    }


def _line(
    name: str, track: Track, read: Callable[[Point], Number], now: float
) -> dict[str, Any]:
    points = [
        [round(now - point.heard_at, 1), round(value, 3)]
        for point in track.points
        if (value := read(point)) is not None
    ]
    return {"name": name, "points": points}


def _stalls(tracks: list[Track]) -> list[list[str]]:
    found = [
        (stall["at"], track.name, stall)
        for track in tracks
        for stall in track.last.sample["loop"]["recent"]
    ]
    found.sort(key=lambda each: each[0], reverse=True)
    return [
        [
            f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}",
            ms(stall["ms"]),
            f"{stall['function']}, {_short(stall['file'])}:{stall['line']}",
            stall["blocked_in"],
            stall["request"] or "none that is known",
            name,
        ]
        for at, name, stall in found[:STALLS_SHOWN]
    ]


def _short(path: str) -> str:
    """The last folders of a path, which tell files from each other."""
    return "/".join(path.split("/")[-3:])


def _by_upstream(tracks: list[Track]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for track in tracks:
        for upstream in track.last.sample["upstreams"]:
            found.setdefault(upstream["title"], []).append(upstream)
    return found


def _upstreams(tracks: list[Track]) -> list[list[str]]:
    return [
        [title, *(_state(upstream) for upstream in states)]
        for title, states in _by_upstream(tracks).items()
    ]


def _state(upstream: dict[str, Any]) -> str:
    failures = upstream["failures"]
    match upstream["state"]:
        case "failing":
            return f"failing, {failures} in a row"
        case "left alone" if upstream["wait_s"]:
            return f"left alone for {upstream['wait_s']:.0f} s"
        case "left alone":
            return "left alone, to be tried by the next request"
        case state:
            return str(state)
