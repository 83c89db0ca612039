"""The command: `python -m reliability [--scale 5|full] [--seeds 3|7:27] [ROW ...]`."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from typing import Any

from reliability import machine, report, runs
from reliability.rows import Row, UnknownRow, chosen
from reliability.summary import Entry, Incomplete, summarise


def main(arguments: list[str] | None = None) -> int:
    """Run the rows one after the other.

    Returns 0 if all hold, 1 if one is below its mark, 2 if one did not come to its end: that
    keeps its former entry.
    """
    options = _options(arguments)
    try:
        rows = list(chosen(options.rows))
    except UnknownRow as error:
        sys.exit(str(error))
    report.save(report.load())  # what cannot be read or written is said before hours of work
    worst = 0
    for row in rows:
        try:
            entry = _soak(row, options.scale, options.seeds)
        except Incomplete as error:
            print(f"{row.id}: nothing is noted, {error}.", flush=True)
            worst = 2
            continue
        kept = report.load()
        kept.setdefault(row.id, {})[entry.pair] = entry
        report.save(kept)
        _print(row, entry)
        worst = max(worst, 0 if entry.holds else 1)
    return worst


def _soak(row: Row, scale: str, seeds: str) -> Entry:
    began = time.monotonic()
    done = []
    for database, loop in runs.PLACES:
        name = f"{row.id}-{database}-{loop}"
        print(f"{row.id} on {database} and {loop}: .reliability/{name}.log", flush=True)
        done.append(
            runs.run(row.modules(), database, loop, scale=scale, seeds=seeds, name=name)
        )
    entry = summarise(done)
    entry.date = datetime.datetime.now(datetime.UTC).date().isoformat()
    entry.scale, entry.seeds = scale, seeds
    entry.took_s = round(time.monotonic() - began, 1)
    entry.machine = machine.described()
    return entry


def _print(row: Row, entry: Entry) -> None:
    mark = "holds" if entry.holds else "BELOW ITS MARK"
    print(f"{row.id} {mark}, scale {entry.scale}, {entry.took_s:.0f} s", flush=True)
    for fault in entry.faults:
        print(f"    {fault}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("--scale", default="5", type=_scale, help='a factor, or "full" (5)')
    parser.add_argument("--seeds", default="3", help='how many, or "7:27": from 7 to 26 (3)')
    parser.add_argument("rows", nargs="*", metavar="ROW", help="R2 R10 ...; none: all")
    return parser.parse_args(arguments)


def _scale(value: str) -> str:
    if value != "full":
        float(value)
    return value


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted: the row that was running is not noted.")
