"""The command: `python -m conformance [--db postgresql|sqlite] [--handler] [LABEL ...]`."""

from __future__ import annotations

import argparse
import platform
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime

import django

from conformance import known, report, suite
from conformance.databases import Databases
from conformance.jobs import Job, Outcome, run
from conformance.store import Cache, Summary, frozen_source, source
from conformance.verdict import Verdict, compare

# Differences of one label that are printed.
MOST_SHOWN = 20


def main() -> int:
    options = _options()
    version = django.get_version()
    release = ".".join(version.split(".")[:2])
    tests = suite.fetch("django", version) / "tests"
    labels = _labels(options, suite.labels(tests))
    name = f"handler-{options.db}" if options.handler else options.db
    expected = [line for line in known.read() if line.applies(name, release)]
    cache = Cache(f"django-{version}", name)
    summary = Summary(f"django-{release}-{name}")
    verdicts: list[Verdict] = []
    with frozen_source() as frozen, Databases(options.db) as databases:
        slots: queue.Queue[int] = queue.Queue()
        for slot in range(options.jobs):
            slots.put(slot)
        # What the stock side depends on; the server's version stands for its kind.
        stock_fingerprint = f"{platform.python_version()} {databases.version}"

        def of_engine(engine: str, label: str, slot: int) -> Outcome:
            fingerprint = stock_fingerprint if engine == "stock" else source()
            whole = "." not in label
            fresh = options.again and engine == "onloop"
            kept = cache.get(engine, label, fingerprint) if whole and not fresh else None
            if kept is None:
                settings = databases.settings(engine, label.split(".", maxsplit=1)[0], slot)
                kept = run(Job(tests, frozen, label, engine, settings, options.handler))
                if whole:
                    cache.put(engine, kept, fingerprint)
            return kept

        def both(label: str) -> Verdict:
            slot = slots.get()
            try:
                stock, onloop = (
                    of_engine("stock", label, slot),
                    of_engine("onloop", label, slot),
                )
            finally:
                slots.put(slot)
            verdict = compare(stock, onloop, expected)
            with printing:
                _print(verdict, onloop, detailed=options.verbose)
            return verdict

        printing = threading.Lock()
        began = time.monotonic()
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                running = [pool.submit(both, label) for label in labels]
                verdicts = [future.result() for future in as_completed(running)]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        summary.content["about"] = {
            "django": version,
            "python": platform.python_version(),
            "database": databases.version,
        }
    today = datetime.now(UTC).date().isoformat()
    for verdict in verdicts:
        if "." not in verdict.label and (verdict.stock or verdict.onloop or verdict.new):
            summary.content["labels"][verdict.label] = {
                "stock": verdict.stock,
                "onloop": verdict.onloop,
                "known": len(verdict.known),
                "new": len(verdict.new),
                "when": today,
            }
    summary.save()
    report.write()
    failing = [verdict for verdict in verdicts if not verdict.holds]
    stock, onloop = sum(v.stock for v in verdicts), sum(v.onloop for v in verdicts)
    print(
        f"\nDjango {version} on {name}: {len(verdicts)} labels in "
        f"{time.monotonic() - began:.0f} s; {stock} tests pass on Django's own backend, "
        f"{onloop} on Onloop's; {sum(len(v.known) for v in verdicts)} known differences, "
        f"{sum(len(v.new) for v in verdicts)} new ones, "
        f"{sum(len(v.stale) for v in verdicts)} that are none any more."
    )
    # For whoever counts tests: those of Django that Onloop had to pass.
    print(f"{onloop} passed, {sum(len(v.new) for v in verdicts)} failed")
    return 1 if failing else 0


def _print(verdict: Verdict, onloop: Outcome, *, detailed: bool) -> None:
    mark = "ok" if verdict.holds else "DIFFERENT"
    print(
        f"{mark:<9} {verdict.label:<40} stock {verdict.stock:>5}  onloop {verdict.onloop:>5}  "
        f"{onloop.seconds:>6.1f} s",
        flush=True,
    )
    for test, found in list(verdict.new.items())[:MOST_SHOWN]:
        print(f"    {found}: {test}")
        if detailed and test in onloop.details:
            print("        " + onloop.details[test].rstrip().replace("\n", "\n        "))
    if len(verdict.new) > MOST_SHOWN:
        print(f"    and {len(verdict.new) - MOST_SHOWN} more")
    for test in verdict.stale:
        print(f"    passes: {test}: remove its line from conformance/known.txt")


def _labels(options: argparse.Namespace, every: list[str]) -> list[str]:
    wanted = options.labels or (suite.HANDLER.split() if options.handler else every)
    if wanted == ["database"]:
        wanted = suite.DATABASE.split()
    known_labels = set(every)
    unknown = [label for label in wanted if label.split(".")[0] not in known_labels]
    if unknown and options.labels and wanted is options.labels:
        sys.exit(f"Django {django.get_version()} has no tests with the label {unknown[0]!r}.")
    return [label for label in wanted if label.split(".")[0] in known_labels]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--db", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument(
        "--handler", action="store_true", help="with Onloop's handler in place of Django's"
    )
    parser.add_argument("--jobs", type=int, default=2, help="labels at a time (2)")
    parser.add_argument(
        "--again", action="store_true", help="labels too that have run with this source"
    )
    parser.add_argument("--verbose", action="store_true", help="with tracebacks")
    parser.add_argument(
        "labels", nargs="*", metavar="LABEL", help='or "database": the main ones'
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
