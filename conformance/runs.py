"""A run: labels of one suite, each on Django's own backend and on Onloop's."""

from __future__ import annotations

import platform
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime

import django

from conformance import known
from conformance.databases import Databases, redis_for
from conformance.jobs import Job, Outcome, run
from conformance.store import Cache, Summary, frozen_source, source
from conformance.suite import Suite
from conformance.verdict import Verdict, compare


@dataclass(frozen=True)
class Run:
    """What is run: `name` is "postgresql", "handler-sqlite", "drf-sqlite"."""

    suite: Suite
    database: str
    jobs: int
    again: bool  # labels too that have run with this source

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.suite.kind, self.database)))

    def judge(self, labels: list[str]) -> Iterator[tuple[Verdict, Outcome]]:
        """Run labels, yield what is found as it is found, and keep the counts."""
        version = django.get_version()
        release = ".".join(version.split(".")[:2])
        expected = [line for line in known.read() if line.applies(self.name, release)]
        left_out = tuple(line.test for line in expected if line.cause == "out")
        cache = Cache(f"{self.suite.version}-django-{version}", self.name)
        summary = Summary(f"django-{release}-{self.name}")
        with (
            frozen_source() as frozen,
            Databases(self.database) as databases,
            redis_for(self.suite) as redis,
        ):
            slots: queue.Queue[int] = queue.Queue()
            for slot in range(self.jobs):
                slots.put(slot)
            # What the stock side depends on; the server's version stands for its kind.
            fingerprints = {
                "stock": f"{platform.python_version()} {databases.version}",
                "onloop": source(),
            }

            def of_engine(engine: str, label: str, slot: int) -> Outcome:
                whole = is_whole(label)
                if whole and not (self.again and engine == "onloop"):
                    kept = cache.get(engine, label, fingerprints[engine])
                    if kept is not None:
                        return kept
                settings = databases.settings(engine, label.partition(".")[0], slot)
                out = left_out if engine == "onloop" else ()
                outcome = run(Job(self.suite, frozen, label, engine, settings, out, redis))
                if whole:
                    cache.put(engine, outcome, fingerprints[engine])
                return outcome

            def both(label: str) -> tuple[Verdict, Outcome]:
                slot = slots.get()
                try:
                    stock = of_engine("stock", label, slot)
                    onloop = of_engine("onloop", label, slot)
                finally:
                    slots.put(slot)
                return compare(stock, onloop, expected), onloop

            summary.about(
                suite=self.suite.version,
                django=version,
                python=platform.python_version(),
                database=databases.version,
            )
            today = datetime.now(UTC).date().isoformat()
            with ThreadPoolExecutor(self.jobs) as pool:
                running = [pool.submit(both, label) for label in labels]
                try:
                    for future in as_completed(running):
                        verdict, onloop = future.result()
                        if is_whole(verdict.label):
                            summary.add(verdict, today)
                        yield verdict, onloop
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)
                    summary.save()


def is_whole(label: str) -> bool:
    """Whether it is a label with all its tests, not one module or test of it."""
    return "." not in label
