"""`python -m benchmarks`: see README.md beside this file."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import micro
from .contenders import CONTENDERS
from .endpoints import ENDPOINTS
from .pinning import share_out, stolen
from .postgres import Database, database
from .report import spread, table, tables
from .runner import Plan, cells, run


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)}: not among {', '.join(known)}"
            )
        return names

    return parse


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("numbers of requests, 1 or more")
    return numbers


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each cell is measured (5)")
    parser.add_argument("--seconds", type=float, help="how long each time (1.0)")
    parser.add_argument("--only", type=_names(CONTENDERS), metavar="CONTENDER,...")
    parser.add_argument("--endpoints", type=_names(ENDPOINTS), metavar="ENDPOINT,...")
    parser.add_argument("--at-once", type=_numbers, metavar="N,...", help="requests at once")
    parser.add_argument(
        "--sockets", action="store_true", help="through real servers, clients on another core"
    )
    parser.add_argument(
        "--slow-database",
        action="store_true",
        help="a sync view whose query takes 20 ms: requests a second, and threads",
    )
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.2 seconds")
    parser.add_argument("--cpu", action="store_true", help="print CPU time per request as well")
    parser.add_argument("--no-micro", action="store_true", help="leave Onloop's own costs out")
    parser.add_argument("--no-pin", action="store_true", help="let everything use every core")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.2 if options.quick else 1.0)
    options.only = options.only or list(CONTENDERS)
    if options.slow_database:
        options.endpoints = options.endpoints or ["slow"]
        options.at_once = options.at_once or [1, 20, 200]
        os.environ.setdefault("BENCH_POOL_SIZE", "50")  # not what limits it
    usual = [name for name, endpoint in ENDPOINTS.items() if endpoint.usual]
    options.endpoints = options.endpoints or usual
    options.at_once = options.at_once or [1, 20]
    options.no_micro |= options.sockets or options.slow_database
    if options.sockets and options.slow_database:
        parser.error("--sockets and --slow-database do not go together: threads are counted")
    return options


def _who(options: argparse.Namespace) -> list[str]:
    """The contenders that are wanted and have at least one of the endpoints."""
    return [
        name
        for name in options.only
        if any(
            not only or name in only for only in (ENDPOINTS[e].only for e in options.endpoints)
        )
    ]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(options: argparse.Namespace, db: Database, cores: list[int], pg: list[int]) -> int:
    about = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "postgresql": db.version,
        "cores": os.cpu_count(),
        "contender_cores": cores,
        "postgresql_cores": pg,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "sockets": options.sockets,
    }
    pinned = f"contenders on core {cores[0]}, PostgreSQL on {pg}" if cores else "nothing pinned"
    say(
        f"Python {about['python']}, PostgreSQL {db.version}, {pinned}; "
        f"{options.rounds} rounds of {options.seconds} s"
    )
    stolen_before, begun = stolen(), time.monotonic()
    plan = Plan(
        names=_who(options),
        endpoints=options.endpoints,
        at_once=options.at_once,
        rounds=options.rounds,
        seconds=options.seconds,
        cores=cores,
        others=pg,
        sockets=options.sockets,
        threads=options.slow_database,
    )
    results = run(plan, db, say)
    if stolen_before is not None:
        share = (stolen() - stolen_before) / (time.monotonic() - begun)
        about["stolen_cores"] = round(share, 3)
    for text in tables(
        results, options.endpoints, options.at_once, options.markdown, options.cpu
    ):
        print(text)
    print(spread(results))
    if "stolen_cores" in about:
        withheld, of = about["stolen_cores"], about["cores"]
        print(f"The host withheld {withheld:.2f} of {of} cores meanwhile.")
    print()
    costs: list[dict[str, Any]] = []
    if not options.no_micro:
        costs, reason = micro.run(cores, db, options.rounds, options.seconds)
        if costs:
            print(table("Onloop's own costs, median µs", micro.rows(costs), options.markdown))
        else:
            say(f"skipped Onloop's own costs: {reason}")
            if reason.startswith("failed"):
                results.failures["micro"] = reason
    for name, versions in results.versions.items():
        print(f"{name}: " + ", ".join(f"{what} {which}" for what, which in versions.items()))
    if options.json:
        report = {
            "about": about,
            "versions": results.versions,
            "skipped": results.skipped,
            "failures": results.failures,
            "cells": cells(results),
            "micro": costs,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, reason in results.failures.items():
        say(f"FAILED {name}: {reason}")
    return 1 if results.failures else 0


def main() -> int:
    options = arguments()
    # A polite kill unwinds like Ctrl-C does: workers and server are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores, pg = share_out(not options.no_pin)
    try:
        with database(pg) as db:
            return measure(options, db, cores, pg)
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
