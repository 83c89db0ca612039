"""The run: worker processes, rounds in which the contenders take turns, and the samples."""

import json
import os
import select
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from typing import Any

from .contenders import CONTENDERS
from .endpoints import ENDPOINTS
from .postgres import ROOT, Database

PATIENCE = 60.0  # seconds that a worker may take beyond what it was asked for

Key = tuple[str, str, int]  # contender, endpoint, at once


class WorkerFailedError(Exception):
    """A worker answered with an error, went away or said nothing."""


class Worker:
    """One child process, and the two pipes to it."""

    def __init__(self, module: str, name: str, cores: list[int], database: Database) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, json.dumps(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | database.environment(),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def answer(self, within: float = PATIENCE) -> dict[str, Any]:
        readable, _, _ = select.select([self._process.stdout], [], [], within)
        if not readable:
            raise WorkerFailedError(f"{self.name} did not answer within {within:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailedError(f"{self.name} ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailedError(f"{self.name}: {answer['error']}")
        return answer

    def order(self, **order: Any) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailedError(f"{self.name} is gone") from None
        return self.answer(PATIENCE + 2 * order["seconds"])

    def end(self, politely: bool = True) -> None:
        """End of input is the sign to leave; a worker that stays is killed."""
        try:
            self._process.stdin.close()
            self._process.wait(5 if politely else 0.2)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Served:
    """A contender on a real server: one worker is the server, one the clients."""

    def __init__(
        self, name: str, cores: list[int], clients: list[int], database: Database
    ) -> None:
        self.name = name
        self._server = Worker("benchmarks.server_worker", name, cores, database)
        self._load = Worker("benchmarks.load_worker", name, clients, database)
        self._port = 0

    def answer(self) -> dict[str, Any]:
        ready = self._server.answer()
        self._port = ready["port"]
        self._load.answer()
        return ready

    def order(self, **order: Any) -> dict[str, Any]:
        """As `Worker.order`; the CPU time is the server's, that of warming up in proportion."""
        before = self._server.order(seconds=0)["cpu"]
        answer = self._load.order(port=self._port, **order)
        cpu = self._server.order(seconds=0)["cpu"] - before
        return answer | {"cpu": cpu * answer["count"] / answer["sent"]}

    def end(self, politely: bool = True) -> None:
        self._load.end(politely)
        self._server.end(politely)


@dataclass
class Plan:
    """What is measured, by whom, and where."""

    names: list[str]
    endpoints: list[str]
    at_once: list[int]
    rounds: int
    seconds: float
    cores: list[int]
    others: list[int]  # PostgreSQL's cores, and those of clients over sockets
    sockets: bool = False
    threads: bool = False  # count them

    def worker(self, name: str, database: Database) -> Worker | Served:
        if self.sockets:
            return Served(name, self.cores, self.others, database)
        return Worker("benchmarks.worker", name, self.cores, database)

    def missing(self, name: str) -> list[str]:
        server = "gunicorn" if CONTENDERS[name].wsgi else "uvicorn"
        servers = [server] if self.sockets and find_spec(server) is None else []
        return CONTENDERS[name].missing() + servers


@dataclass
class Results:
    micros: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    threads: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, key: Key) -> float | None:
        return median(self.micros[key]) if key in self.micros else None


@contextmanager
def workers(
    plan: Plan, database: Database, results: Results
) -> Iterator[dict[str, Worker | Served]]:
    """A started worker for each contender that can be had."""
    running: dict[str, Worker | Served] = {}
    politely = False
    try:
        for name in plan.names:
            if missing := plan.missing(name):
                results.skipped[name] = f"not importable: {', '.join(missing)}"
                continue
            running[name] = plan.worker(name, database)
        for name, worker in list(running.items()):
            try:
                results.versions[name] = worker.answer()["ready"]
            except WorkerFailedError as failure:
                results.failures[name] = str(failure)
                running.pop(name).end(politely=False)
        yield running
        politely = True
    finally:
        for worker in running.values():
            worker.end(politely)


def _measure(
    worker: Worker | Served, database: Database, key: Key, plan: Plan, into: Results
) -> None:
    _, endpoint, at_once = key
    before = database.sold() if endpoint == "update" else 0
    answer = worker.order(
        endpoint=endpoint, at_once=at_once, seconds=plan.seconds, threads=plan.threads
    )
    if endpoint == "update":
        # An update that was answered has to be there.
        if (committed := database.sold() - before) != answer["sent"]:
            raise WorkerFailedError(
                f"{worker.name}: {answer['sent']} updates answered, {committed} committed"
            )
        database.tidy()
    into.micros[key].append(answer["elapsed"] / answer["count"] * 1e6)
    into.cpu[key].append(answer["cpu"] / answer["count"] * 1e6)
    into.threads[key].extend(answer["threads"])


def run(plan: Plan, database: Database, say: Callable[[str], None]) -> Results:
    results = Results()
    with workers(plan, database, results) as running:
        for name, reason in (results.skipped | results.failures).items():
            say(f"skipped {name}: {reason}")
        for turn in range(plan.rounds):
            for endpoint in plan.endpoints:
                only = ENDPOINTS[endpoint].only
                for clients in plan.at_once:
                    # Nobody always goes first, nor always after the same neighbour.
                    order = [name for name in running if not only or name in only]
                    start = turn % len(order) if order else 0
                    for name in order[start:] + order[:start]:
                        key = (name, endpoint, clients)
                        try:
                            _measure(running[name], database, key, plan, results)
                        except WorkerFailedError as failure:
                            results.failures[name] = f"{endpoint}, {clients} at once: {failure}"
                            say(f"dropped {name}: {results.failures[name]}")
                            running.pop(name).end(politely=False)
            say(f"round {turn + 1} of {plan.rounds} done")
    return results


def cells(results: Results) -> list[dict[str, Any]]:
    """What goes into the JSON file: every sample, in µs a request."""
    return [
        {
            "contender": name,
            "endpoint": endpoint,
            "endpoint_label": ENDPOINTS[endpoint].label,
            "at_once": at_once,
            "median_us": round(median(samples), 1),
            "samples_us": [round(sample, 1) for sample in samples],
            "cpu_median_us": round(median(results.cpu[name, endpoint, at_once]), 1),
            "threads": results.threads[name, endpoint, at_once],
        }
        for (name, endpoint, at_once), samples in results.micros.items()
    ]
