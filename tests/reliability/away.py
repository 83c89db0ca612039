"""The harness of R7: a database that is away while many ask for it, and comes back.

Three pools, each behind a proxy that counts who connects. `default` has a connection
out, so that callers queue for it; `other` has none, so that they are told at once; behind
`silent` nothing refuses, and nothing answers either.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

from django.db import OperationalError, connections, transaction
from django.http import HttpResponse
from django.urls import path
from psycopg import connection_async

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.db.errors import ConnectionLost
from onloop.db.pool import Pool
from onloop.testing import FaultProxy
from tests.asgi.client import Exchange
from tests.db.eventually import eventually
from tests.db.helpers import afetch, fetch
from tests.postgres import PostgresServer
from tests.reliability.attempts import Attempts, noted
from tests.reliability.findings import Findings
from tests.reliability.kills import is_clear
from tests.reliability.scale import FULL, PATIENCE_S

ALIASES = ["default", "other", "silent"]
MAX_SIZE = 4
TIMEOUT_S = 0.5
# psycopg's own rule is at least two seconds.
CONNECT_S = 0.3
GRACE_S = 1
RETURN_S = 5
CLEAR = (OperationalError,)
CALLERS = 6


@contextlib.contextmanager
def three_pools(place: Any) -> Iterator[dict[str, FaultProxy]]:
    """Send three aliases through proxies to `place`."""
    options = {
        # One TCP connection an attempt: no second one without encryption.
        "sslmode": "disable",
        "pool": {"max_size": MAX_SIZE, "timeout": TIMEOUT_S},
    }
    before = {alias: connections.settings[alias]["OPTIONS"] for alias in ("default", "other")}
    connections.settings["silent"] = copy.deepcopy(connections.settings["default"])
    with contextlib.ExitStack() as stack:
        proxies = {}
        for alias in ALIASES:
            connections.settings[alias]["OPTIONS"] = options
            proxies[alias] = stack.enter_context(FaultProxy(place.socket_dir, place.port))
            stack.enter_context(proxies[alias].in_front_of(alias))
        try:
            yield proxies
        finally:
            for alias, found in before.items():
                connections.settings[alias]["OPTIONS"] = found
            pools.close_pools(alias="silent")
    del connections.settings["silent"]


class Away:
    """`await Away(application, server, proxies).run(findings, away_s)`."""

    def __init__(
        self, application: Any, server: PostgresServer, proxies: dict[str, FaultProxy]
    ) -> None:
        self.application = application
        self.server = server
        self.proxies = proxies
        self.findings: Findings
        self._back = False

    async def run(self, findings: Findings, away_s: float, *, failures: int = 2) -> None:
        """Be away for so long, and until each pool has had so many failures in a row."""
        self.findings = findings
        for alias in ALIASES:
            await afetch("SELECT 1", alias=alias)
        known = {alias: _pool_of(alias)._backoff for alias in ALIASES}
        before = {alias: proxy.counters.accepted for alias, proxy in self.proxies.items()}
        with noted(known) as attempts:
            async with self._one_is_out():
                await asyncio.to_thread(self.server.halt, "fast")
                self.proxies["silent"].reset()
                self.proxies["silent"].black_hole()
                with mock.patch.object(
                    connection_async, "timeout_from_conninfo", return_value=CONNECT_S
                ):
                    await self._be_asked(attempts, away_s, failures)
                self._judge(attempts, before)
        await asyncio.to_thread(self.server.resume)
        self.proxies["silent"].forward()
        await asyncio.gather(*map(self._until_it_works, ALIASES))

    async def _be_asked(
        self, attempts: dict[str, Attempts], away_s: float, failures: int
    ) -> None:
        callers = [
            asyncio.create_task(self._call(alias)) for alias in ALIASES for _ in range(CALLERS)
        ]
        callers += [asyncio.create_task(self._request()) for _ in range(CALLERS)]
        await asyncio.sleep(away_s)
        await eventually(
            lambda: all(len(each.delays) >= failures for each in attempts.values()),
            "failures of each pool",
        )
        self._back = True
        await asyncio.gather(*callers)

    @contextlib.asynccontextmanager
    async def _one_is_out(self) -> AsyncIterator[None]:
        """Keep a connection of `default` in a transaction."""
        inside, over = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            with contextlib.suppress(ConnectionLost):
                async with onloop.scope(), transaction.atomic():
                    await afetch("SELECT 1")
                    inside.set()
                    await over.wait()

        holder = asyncio.create_task(hold())
        await inside.wait()
        try:
            yield
        finally:
            over.set()
            await holder

    # --- the load ---------------------------------------------------------------------------

    async def _call(self, alias: str) -> None:
        while not self._back:
            began = time.monotonic()
            try:
                async with onloop.scope():
                    await afetch("SELECT 1", alias=alias)
            except Exception as exc:  # noqa: BLE001 - any that is not clear is a finding
                self._told(f"callers of {alias}", began)
                if not is_clear(exc, CLEAR):
                    told = "".join(traceback.format_exception(exc))
                    self.findings.add("unclear error", f"{alias}: {told}")
            else:
                self.findings.add("an answer from nobody", alias)
            await asyncio.sleep(0.01)

    async def _request(self) -> None:
        while not self._back:
            began = time.monotonic()
            answer = await Exchange(self.application, "/asks/")
            self._told("requests", began)
            if (answer.status, answer.headers("retry-after")) != (503, ["1"]):
                self.findings.add("wrong answer", f"{answer.status} {answer.headers}")
            answer = await Exchange(self.application, "/asks-nothing/")
            if answer.status != 200:
                self.findings.add("wrong answer", f"{answer.status} without a database")
            await asyncio.sleep(0.01)

    def _told(self, who: str, began: float) -> None:
        """A caller waits for a connection that is out, or for its own attempt to open one."""
        self.findings.counts[who] += 1
        took_s = time.monotonic() - began
        key = "longest until an error s"
        self.findings.measured[key] = max(took_s, self.findings.measured.get(key, 0))
        if FULL and took_s > TIMEOUT_S + CONNECT_S + GRACE_S:
            self.findings.add("late", f"{who}: {took_s:.2f} s")

    async def _until_it_works(self, alias: str) -> None:
        began = time.monotonic()
        deadline = began + PATIENCE_S
        while True:
            try:
                async with onloop.scope():
                    await afetch("SELECT 1", alias=alias)
                break
            except OperationalError as exc:
                if time.monotonic() > deadline:
                    self.findings.add("still away after the return", f"{alias}: {exc}")
                    return
            await asyncio.sleep(0.02)
        took_s = time.monotonic() - began
        self.findings.measured[f"{alias} works after s"] = took_s
        if FULL and took_s > RETURN_S:
            self.findings.add("late", f"{alias} works after {took_s:.1f} s")

    # --- what came of it --------------------------------------------------------------------

    def _judge(self, attempts: dict[str, Attempts], before: dict[str, int]) -> None:
        """Attempts come one at a time, at growing intervals that no two pools share."""
        seen = []
        for alias, of_pool in attempts.items():
            self.findings.counts[f"attempts of {alias}"] = of_pool.begun
            arrived = self.proxies[alias].counters.accepted - before[alias]
            if arrived > of_pool.begun:
                self.findings.add("attempts that nobody allowed", f"{alias}: {arrived}")
            seen.append(of_pool.judge(self.findings, alias, MAX_SIZE))
        common = min(map(len, seen))
        if any(
            one[:common] == another[:common]
            for one in seen
            for another in seen
            if one is not another
        ):
            self.findings.add("pools keep step", seen)


def _pool_of(alias: str) -> Pool[Any]:
    (pool,) = [
        pool for pool in pools.pools_of(asyncio.get_running_loop()) if pool.name == alias
    ]
    return pool


async def asks(request):  # type: ignore[no-untyped-def]
    return HttpResponse(await bridge.run(fetch, "SELECT 1"))


async def asks_nothing(request):  # type: ignore[no-untyped-def]
    return HttpResponse("here")


urlpatterns = [path("asks/", asks), path("asks-nothing/", asks_nothing)]
