"""`python -m benchmarks.cache`: Django's cache API on Redis, Onloop's and Django's own.

Each contender has a process of its own, without the other's packages in it; all ask one Redis,
which the run starts and stops. They take turns; a figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from benchmarks.pinning import pin, share_out, stolen

STOCK, ONLOOP, REDIS_PY = "Django's RedisCache", "Onloop's RedisCache", "redis.asyncio alone"
BACKENDS = {
    STOCK: "django.core.cache.backends.redis.RedisCache",
    ONLOOP: "onloop.cache.RedisCache",
}
AT_ONCE = (1, 20)
# What is asked, and what it is called.
WORKS = {
    "aget": "`aget`",
    "aset": "`aset`",
    "aget_many": "`aget_many`, 10 keys",
    "request": "`aget`, once for each request",
}
VALUE = {"name": "a value as sessions are", "numbers": list(range(20))}
WARM_UP = 0.2  # of a cell's time


# --- the contender's process ------------------------------------------------------------------


def works(contender: str, url: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    if contender == REDIS_PY:
        from redis.asyncio import BlockingConnectionPool, Redis

        redis = Redis(connection_pool=BlockingConnectionPool.from_url(url))
        return {
            "aget": lambda: redis.get(":1:a"),
            "aset": lambda: redis.set(":1:b", b"x" * 100, ex=300),
            "aget_many": lambda: redis.mget([f":1:{n}" for n in range(10)]),
        }
    import django
    from asgiref.sync import ThreadSensitiveContext
    from django.conf import settings

    settings.configure(
        CACHES={"default": {"BACKEND": BACKENDS[contender], "LOCATION": url}},
        INSTALLED_APPS=["onloop"] if contender == ONLOOP else [],
    )
    django.setup()
    from django.core.cache import caches

    cache = caches["default"]

    async def one_request() -> None:
        async with ThreadSensitiveContext():  # as Django's handler does
            await caches["default"].aget("a")

    def request() -> Awaitable[Any]:
        # A server's task for a request, with a context of its own.
        return asyncio.get_running_loop().create_task(
            one_request(), context=contextvars.Context()
        )

    return {
        "aget": lambda: cache.aget("a"),
        "aset": lambda: cache.aset("b", VALUE),
        "aget_many": lambda: cache.aget_many([str(n) for n in range(10)]),
        "request": request,
    }


async def measure(
    work: Callable[[], Awaitable[Any]], at_once: int, seconds: float
) -> tuple[float, float]:
    """Return µs for one, of as many as are done in so many seconds: wall and CPU time."""
    done = 0
    until = 0.0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work()
            done += 1

    async def all_clients(lasting: float) -> tuple[float, float]:
        nonlocal done, until
        done, began, busy = 0, time.perf_counter(), time.process_time()
        until = began + lasting
        await asyncio.gather(*(client() for _ in range(at_once)))
        wall, cpu = time.perf_counter() - began, time.process_time() - busy
        return wall / done * 1e6, cpu / done * 1e6

    await all_clients(seconds * WARM_UP)
    return await all_clients(seconds)


async def serve(contender: str, url: str) -> None:
    """Answer orders, one a line, until there are none."""
    ready = works(contender, url)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        work = ready.get(order["work"])
        found = work and await measure(work, order["at_once"], order["seconds"])
        print(json.dumps(found), flush=True)


# --- the run ----------------------------------------------------------------------------------


class Worker:
    def __init__(self, contender: str, url: str, cores: list[int]) -> None:
        command = [sys.executable, "-m", "benchmarks.cache", "--worker", contender, url]
        self._process = subprocess.Popen(
            [*command, json.dumps(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, **order: Any) -> list[float] | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def run(
    rounds: int, seconds: float, cores: list[int], url: str
) -> dict[tuple[Any, ...], list[list[float]]]:
    workers = {name: Worker(name, url, cores) for name in (STOCK, ONLOOP, REDIS_PY)}
    found: dict[tuple[Any, ...], list[list[float]]] = {}
    try:
        for number in range(rounds):
            for work in WORKS:
                for at_once in AT_ONCE:
                    names = list(workers)
                    for name in names[number % 3 :] + names[: number % 3]:
                        order = {"work": work, "at_once": at_once, "seconds": seconds}
                        if (cost := workers[name].order(**order)) is not None:
                            found.setdefault((work, at_once, name), []).append(cost)
    finally:
        for worker in workers.values():
            worker.end()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each cell")
    parser.add_argument("--no-pin", action="store_true")
    options = parser.parse_args()
    from django.core.cache import caches

    from tests.redis import RedisServer

    ours, theirs = share_out(not options.no_pin)
    pin(theirs)  # Redis too
    server = RedisServer()
    try:
        server.start()
        fill(server.url)
        before = stolen()
        found = run(options.rounds, options.seconds, ours, server.url)
    finally:
        server.close()
        caches.close_all()
    table("µs for one, 1 at once / 20 at once", found, 0)
    table("\nCPU time of the contender's process", found, 1)
    spread = max(max(costs)[0] / min(costs)[0] for costs in found.values())
    print(f"\nRounds lay apart by up to {spread:.2f} times.", end="")
    if before is not None:
        print(f" The host withheld {(stolen() or before) - before:.1f} s.", end="")
    print()


def table(title: str, found: dict[tuple[Any, ...], list[list[float]]], which: int) -> None:
    names = (STOCK, ONLOOP, REDIS_PY)
    print(f"{title}\n\n| | {' | '.join(names)} | Onloop is faster than Django's |")
    print("|---|---:|---:|---:|---:|")
    for work, called in WORKS.items():
        cost = {
            (name, at_once): median(round_[which] for round_ in found[work, at_once, name])
            for name in names
            for at_once in AT_ONCE
            if (work, at_once, name) in found
        }
        cells = [
            " / ".join(f"{cost[name, n]:.0f}" if (name, n) in cost else "-" for n in AT_ONCE)
            for name in names
        ]
        ratios = " / ".join(f"{cost[STOCK, n] / cost[ONLOOP, n]:.1f}x" for n in AT_ONCE)
        print(f"| {called} | {' | '.join(cells)} | {ratios} |")


def fill(url: str) -> None:
    from django.conf import settings

    settings.configure(CACHES={"default": {"BACKEND": BACKENDS[STOCK], "LOCATION": url}})
    from django.core.cache import cache

    cache.set_many({"a": VALUE, **{str(n): VALUE for n in range(10)}}, None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _, _, name, url, cores = sys.argv
        pin(json.loads(cores))
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        asyncio.run(serve(name, url))
    else:
        main()
