"""The numbers of this process as Prometheus reads them, made when it asks.

Each carries the label ``process``: several processes may be behind one port, of which any may
answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from onloop.metrics import BOUNDS_S
from operations.samples import Sample, take

# Upper ends of the buckets that are told, in seconds; each is one of Onloop's.
TOLD_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labelled = Iterable[tuple[Mapping[str, str], float]]


class NumbersCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        sample = take()
        telling = Telling({"process": sample["process"]["name"]})
        yield from _requests(sample, telling)
        yield from _loop(sample, telling)
        yield from _pools(sample, telling)
        yield from _rest(sample, telling)


class Telling:
    """Makes metrics that all have the same labels, and those of their own."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels

    def gauge(self, name: str, text: str, values: float | Labelled) -> Metric:
        return self._fill(GaugeMetricFamily(name, text, labels=self._names(values)), values)

    def counter(self, name: str, text: str, values: float | Labelled) -> Metric:
        return self._fill(CounterMetricFamily(name, text, labels=self._names(values)), values)

    def histogram(self, name: str, text: str, times: dict[str, Any]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        told, below, reached = [], 0, 0
        for bound in TOLD_S:
            upto = BOUNDS_S.index(bound) + 1
            below += sum(times["buckets"][reached:upto])
            reached = upto
            told.append((str(bound), below))
        told.append(("+Inf", times["count"]))
        family.add_metric(list(self._labels.values()), told, sum_value=times["total_s"])
        return family

    def _names(self, values: float | Labelled) -> list[str]:
        own = (
            []
            if isinstance(values, int | float)
            else next((list(one) for one, _ in values), [])
        )
        return [*self._labels, *own]

    def _fill(self, family: Any, values: float | Labelled) -> Metric:
        pairs: Labelled = [({}, values)] if isinstance(values, int | float) else values
        for own, value in pairs:
            family.add_metric([*self._labels.values(), *own.values()], value)
        return family


def _requests(sample: Sample, telling: Telling) -> Iterator[Metric]:
    numbers = sample["requests"]
    yield telling.histogram(
        "onloop_request_duration_seconds",
        "From the first piece of a request to the beginning of its answer.",
        numbers["times"],
    )
    yield telling.counter(
        "onloop_requests",
        "Requests that were answered, by their status.",
        [({"status": status}, number) for status, number in numbers["statuses"].items()],
    )
    yield telling.counter(
        "onloop_requests_unanswered", "Clients left, or were cut off.", numbers["unanswered"]
    )
    yield telling.counter(
        "onloop_requests_refused", "Refused with 503: too many.", numbers["refused"]
    )
    yield telling.gauge(
        "onloop_requests_present", "Requests and messages under way.", numbers["present"]
    )
    yield telling.gauge("onloop_requests_waiting", "Without a place.", numbers["waiting"])


def _loop(sample: Sample, telling: Telling) -> Iterator[Metric]:
    numbers = sample["loop"]
    yield telling.histogram(
        "onloop_loop_lag_seconds",
        "How late the event loop came to the watchdog's marks.",
        numbers["lag"],
    )
    yield telling.counter("onloop_loop_stalls", "The loop was held.", numbers["count"])
    yield telling.gauge(
        "onloop_loop_longest_stall_seconds",
        "The longest since the process began.",
        numbers["longest_ms"] / 1000,
    )


def _pools(sample: Sample, telling: Telling) -> Iterator[Metric]:
    pools = sample.get("pools", [])

    def each(name: str, factor: float = 1) -> Labelled:
        return [({"pool": pool["name"]}, pool[name] * factor) for pool in pools]

    if not pools:
        return
    yield telling.gauge("onloop_pool_connections", "Open connections.", each("pool_size"))
    yield telling.gauge("onloop_pool_idle", "Of these idle.", each("pool_available"))
    yield telling.gauge("onloop_pool_max", "At most so many.", each("pool_max"))
    yield telling.gauge("onloop_pool_waiting", "Wait for one.", each("requests_waiting"))
    yield telling.counter("onloop_pool_borrowed", "Asked for one.", each("requests_num"))
    yield telling.counter("onloop_pool_waits", "Had to wait.", each("requests_queued"))
    yield telling.counter(
        "onloop_pool_wait_seconds", "For so long in all.", each("requests_wait_ms", 0.001)
    )
    yield telling.counter("onloop_pool_errors", "Got none.", each("requests_errors"))


def _rest(sample: Sample, telling: Telling) -> Iterator[Metric]:
    sockets = sample.get("sockets", {})
    yield telling.gauge("onloop_sockets_open", "Open WebSockets.", sockets.get("open", 0))
    if sockets:
        yield telling.counter(
            "onloop_sockets_ended",
            "Refused or closed by the service, by reason.",
            [({"reason": key}, number) for key, number in sockets.items() if key != "open"],
        )
    states = [
        ({"backend": queue["backend"], "state": state}, queue[state])
        for queue in sample.get("tasks", [])
        for state in ("running", "waiting", "delayed")
    ]
    if states:
        yield telling.gauge("onloop_tasks", "Jobs in this process, by state.", states)
    yield telling.gauge(
        "onloop_http_requests", "Under way to other services.", sample["http"]["under_way"]
    )
    yield telling.gauge(
        "onloop_upstream_open_circuit",
        "1 where a service is left alone since it keeps failing.",
        [
            ({"upstream": upstream["name"]}, int(upstream["state"] == "left alone"))
            for upstream in sample["upstreams"]
        ],
    )
    yield telling.gauge("onloop_threads", "Python's threads.", sample["process"]["threads"])


registry = CollectorRegistry()
registry.register(NumbersCollector())
# Memory, processor time and open files, by their usual names.
ProcessCollector(registry=registry)


def exposition() -> tuple[bytes, str]:
    """The text, and its media type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST
