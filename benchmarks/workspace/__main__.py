"""`python -m benchmarks.workspace`: virtual users of the example, on this machine alone."""

import argparse
import asyncio
import gc
import platform
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import django

from benchmarks.workspace.service import ROOT, Service, free_port, running
from benchmarks.workspace.upstream import upstream
from benchmarks.workspace.users import PATIENCE_S, Seen, User

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- workspace: begin -->", "<!-- workspace: end -->"
MOST_USERS, MOST_SECONDS = 1_000, 600
CONTENDERS = {"Onloop": False, "stock Django, Channels": True}


@dataclass
class Result:
    seen: Seen
    seconds: float
    threads: int
    mib: float

    @property
    def all_ms(self) -> list[float]:
        return [took for kind in self.seen.took_ms.values() for took in kind]

    def row(self, rest_s: float, name: str) -> str:
        took = self.all_ms
        cells = [
            f"{len(took) / self.seconds:.0f}",
            f"{self.seen.heard / self.seconds:.0f}",
            f"{percentile(took, 50):.0f}",
            f"{percentile(took, 99):.0f}",
            f"{self.threads}",
            f"{self.mib:.0f}",
            f"{sum(self.seen.errors.values())}",
        ]
        return f"| {rest_s:g} s | {name} | {' | '.join(cells)} |"


HEAD = (
    "| rest | | requests a second | messages heard a second | p50, ms | p99, ms | threads | "
    "memory, MiB | errors |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|"
)


def percentile(values: list[float], number: int) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[number - 1]


def main() -> int:
    options = arguments(sys.argv[1:])
    results: dict[str, list[Result]] = {}
    for name, stock in CONTENDERS.items():
        if options.only and options.only != name.split()[0].lower():
            continue
        print(f"{name}: {options.users} users for {options.seconds:g} s a load …", flush=True)
        results[name] = measure(options, stock=stock)
        for what, times in sorted(
            sum((result.seen.errors for result in results[name]), Counter()).items()
        ):
            print(f"  {times} times {what}")
    text = report(options, results)
    print(text)
    if options.write:
        write(text)
    return 0 if all(load.all_ms for loads in results.values() for load in loads) else 1


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workspace", description=__doc__)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument(
        "--rest",
        type=float,
        nargs="+",
        default=[3, 1.5, 0.5],
        help="seconds between two actions, on average; several: a load for each",
    )
    parser.add_argument("--only", choices=["onloop", "stock"])
    parser.add_argument("--write", action="store_true", help=f"the table into {PAGE.name}")
    options = parser.parse_args(words)
    if not (0 < options.users <= MOST_USERS and 0 < options.seconds <= MOST_SECONDS):
        parser.error(f"at most {MOST_USERS} users and {MOST_SECONDS} seconds")
    return options


def measure(options: argparse.Namespace, *, stock: bool) -> list[Result]:
    port = free_port()
    with running(stock=stock, port=free_port(), upstream=f"http://127.0.0.1:{port}") as service:
        people = service.make_users(options.users)
        return asyncio.run(visit(options, service, people, port))


async def visit(
    options: argparse.Namespace, service: Service, people: list[dict[str, str]], port: int
) -> list[Result]:
    async with upstream(port):
        users = [
            User(service.url, one["session"], one["room"], number)
            for number, one in enumerate(people)
        ]
        try:
            await warm(users[:10])  # each has a connection, to one of them
            # Every second one has a room open.
            for user in users[::2]:
                await user.enter()
            gc.freeze()
            return [await load(options, service, users, rest_s) for rest_s in options.rest]
        finally:
            await asyncio.gather(*(user.leave() for user in users))


async def load(
    options: argparse.Namespace, service: Service, users: list[User], rest_s: float
) -> Result:
    seen = Seen()
    for user in users:
        user.seen = seen
    began = time.perf_counter()
    until = began + options.seconds
    taken = asyncio.create_task(watch(service))
    async with asyncio.timeout(options.seconds + 2 * PATIENCE_S):
        await asyncio.gather(*(user.act(until, rest_s) for user in users))
    seconds = time.perf_counter() - began
    taken.cancel()
    threads, mib = await taken
    return Result(seen, seconds, threads, mib)


async def warm(users: list[User]) -> None:
    """What is imported at first use shall not be measured: each action, in both processes."""
    for user in users:
        for action, _weight in User.MIX:
            await action(user)


async def watch(service: Service) -> tuple[int, float]:
    """The most threads and memory that were seen, until it is cancelled."""
    threads, mib = 0, 0.0
    try:
        while True:
            now = service.takes()
            threads, mib = max(threads, now[0]), max(mib, now[1])
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return threads, mib


def report(options: argparse.Namespace, results: dict[str, list[Result]]) -> str:
    lines = [
        f"{options.users} users, every second one with a room open, {options.seconds:g} s a "
        "load. Two web processes; threads and memory are the most that both had together. "
        f"Python {platform.python_version()}, Django {django.get_version()}.",
        "",
        HEAD,
    ]
    for number, rest_s in enumerate(options.rest):
        lines += (loads[number].row(rest_s, name) for name, loads in results.items())
    columns = [(name, number) for number, _ in enumerate(options.rest) for name in results]
    lines += [
        "",
        "Median and 99th percentile by what was done, ms:",
        "",
        "| | "
        + " | ".join(f"{name}, {options.rest[number]:g} s" for name, number in columns)
        + " |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for action, _weight in User.MIX:
        kind = action.__name__
        cells = []
        for name, number in columns:
            took = results[name][number].seen.took_ms.get(kind, [])
            cells.append(f"{percentile(took, 50):.0f} / {percentile(took, 99):.0f}")
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(text: str, page: Path = PAGE) -> None:
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}")
    print(f"Written into {page}.")


if __name__ == "__main__":
    sys.exit(main())
