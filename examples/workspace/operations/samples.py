"""One look at this process: the numbers of ``onloop.metrics``, and the panels' services."""

from dataclasses import asdict
from typing import Any

from onloop import metrics
from onloop.channels import socket_stats
from panels import upstreams

Sample = dict[str, Any]

# Of what is in a sample. Processes of two versions may run at once while one is rolled out.
VERSION = 1


def take() -> Sample:
    """What JSON can say. It waits for nothing, and takes a fraction of a millisecond."""
    numbers = metrics.read()
    return {
        "version": VERSION,
        "sockets": socket_stats(),
        **numbers,
        "upstreams": [asdict(upstream) for upstream in upstreams.health()],
    }


def of_pools(sample: Sample, name: str) -> int:
    """The sum of a number over the process's pools."""
    return sum(pool[name] for pool in sample.get("pools", ()))


def of_tasks(sample: Sample, name: str) -> int:
    return sum(queue[name] for queue in sample.get("tasks", ()))


def connections_in_use(sample: Sample) -> int:
    return of_pools(sample, "pool_size") - of_pools(sample, "pool_available")
