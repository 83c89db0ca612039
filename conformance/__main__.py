"""The command: `python -m conformance [--db postgresql|sqlite] [--handler] [LABEL ...]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import django

from conformance import report, suite
from conformance.databases import KINDS
from conformance.jobs import Outcome
from conformance.runs import Run
from conformance.verdict import Verdict

# Differences of one label that are printed.
MOST_SHOWN = 20


def main() -> int:
    options = _options()
    if options.channels is not None:
        tests = suite.channels(options.channels)
    elif options.cache is not None:
        tests = suite.caches(outside=options.cache == "outside")
    else:
        make = suite.rest_frameworks if options.drf else suite.djangos
        tests = make(handler=options.handler)
    labels = _labels(options.labels, tests)
    run = Run(tests, options.db, options.jobs, options.again)
    began = time.monotonic()
    verdicts = []
    for verdict, onloop in run.judge(labels):
        verdicts.append(verdict)
        _print(verdict, onloop, detailed=options.verbose)
    report.write()
    known, new, stale = (
        sum(len(getattr(verdict, kind)) for verdict in verdicts)
        for kind in ("known", "new", "stale")
    )
    onloop_passed = sum(verdict.onloop for verdict in verdicts)
    print(
        f"\n{tests.version} with Django {django.get_version()} on {run.name}: {len(verdicts)} "
        f"labels in {time.monotonic() - began:.0f} s. "
        f"{sum(verdict.stock for verdict in verdicts)} tests pass on Django's own backend, "
        f"{onloop_passed} on Onloop's. Differences: {known} known, {new} new, "
        f"{stale} that are none any more."
    )
    # For whoever counts tests: those that Onloop had to pass.
    unjudged = sum(bool(verdict.unjudged) for verdict in verdicts)
    print(f"{onloop_passed} passed, {new + stale + unjudged} failed")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


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
    if verdict.unjudged:
        print(f"    did not run on Django's own backend:\n{verdict.unjudged}")
    for test in verdict.stale:
        print(f"    passes: {test}: remove its line from conformance/known.txt")


def _labels(asked: list[str], tests: suite.Suite) -> list[str]:
    if not asked:
        return list(tests.labels)
    if asked == ["database"]:
        return [label for label in suite.DATABASE.split() if label in tests.every]
    for label in asked:
        if label.partition(".")[0] not in tests.every:
            sys.exit(f"{tests.version} has no tests with the label {label!r}.")
    return asked


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--db", choices=KINDS, default="postgresql")
    parser.add_argument(
        "--handler", action="store_true", help="with Onloop's handler in place of Django's"
    )
    parser.add_argument("--drf", action="store_true", help="Django REST framework's tests")
    parser.add_argument(
        "--channels", type=Path, metavar="FOLDER", help="the tests of a checkout of Channels"
    )
    parser.add_argument(
        "--cache",
        choices=("bridge", "outside"),
        help="Django's tests of caches, on Redis, with Onloop's in a bridge or outside of one",
    )
    parser.add_argument("--jobs", type=int, default=2, help="labels at a time (2)")
    parser.add_argument(
        "--again", action="store_true", help="labels too that have run with this source"
    )
    parser.add_argument("--verbose", action="store_true", help="with tracebacks")
    parser.add_argument(
        "labels", nargs="*", metavar="LABEL", help='all; "database": the main ones'
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
