"""R7: a database that is away for 10 min: attempts back off with jitter; ready within 5 s.

The short form shuts a server of its own down for 2 seconds, the full one for 10 minutes, while
24 tasks and requests ask three pools for it again and again. Each is told by a clear error (a
request: 503 with Retry-After) within its time-out; a request that needs no database is served.
After those attempts to connect that begin before anybody knows there is one at a time for each
pool, at intervals that grow to a bound and differ from pool to pool; what a proxy in front of
each pool counts are no more than those.
When the server is back, work is done again; the times are measured, and judged in the full
form. Besides, a server process that starts without its database serves, and answers 503 until
the database is there.
"""

import contextlib
import time

import httpx
import pytest
from django.test import override_settings

from onloop.asgi import get_asgi_application
from onloop.db.backends.postgresql import opening
from onloop.db.pool import backoff
from onloop.db.pool.backoff import Backoff
from tests import servers
from tests.reliability import away
from tests.reliability.away import Away, three_pools
from tests.reliability.findings import Findings, Found, TheRule
from tests.reliability.scale import FULL, LONG_S, RULE_S, size
from tests.servers import Serving

pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.timeout(max(LONG_S, 1200 * FULL))]

AWAY_S = size(2, full=600)


@pytest.fixture
def survived(own_server, silent_log, tmp_path):
    """`await survived()`: run, apply the rule, judge."""

    async def run(away_s=AWAY_S, rule_s=RULE_S, failures=2):
        findings = Findings(f"R7, {away_s} s of 600")
        with (
            own_server.in_use(),
            three_pools(own_server.place) as proxies,
            override_settings(ROOT_URLCONF=away.__name__),
        ):
            harness = Away(get_asgi_application(), own_server, proxies)
            async with TheRule(findings, tmp_path, timeout_s=rule_s):
                await harness.run(findings, away_s, failures=failures)
        findings.judge()
        return findings

    return run


async def test_attempts_back_off_and_callers_are_told_while_the_database_is_away(survived):
    findings = await survived()
    assert findings.counts["requests"] >= away.CALLERS
    for alias in away.ALIASES:
        assert findings.counts[f"callers of {alias}"] >= away.CALLERS
        assert findings.counts[f"attempts of {alias}"] >= 2


def test_a_server_starts_without_its_database_and_works_when_it_is_there(own_server, tmp_path):
    findings = Findings("R7, start-up")
    own_server.halt("fast")
    place = own_server.place
    serving = Serving(
        env=(("ONLOOP_TEST_HOST", place.socket_dir), ("ONLOOP_TEST_PORT", str(place.port)))
    )
    server = servers.start(serving, tmp_path)
    try:
        with httpx.Client(base_url=server.url, timeout=90) as client:
            assert client.get("/ping/").status_code == 200
            refused = client.get("/books/")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            own_server.resume()
            began = time.monotonic()
            while client.get("/books/").status_code == 503:
                assert time.monotonic() - began < away.PATIENCE_S
                time.sleep(0.02)
            took_s = findings.measured["works after s"] = time.monotonic() - began
            assert client.get("/books/").status_code == 200
    finally:
        server.stop()
    if FULL and took_s > away.RETURN_S:
        findings.add("late", f"{took_s:.1f} s")
    findings.judge()


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(survived):
    """`await found()`: the kinds of faults that a short absence finds."""

    async def run(failures=2):
        with pytest.raises(Found) as caught:
            await survived(1, rule_s=0.5, failures=failures)
        print(caught.value)
        return caught.value.kinds

    return run


async def test_a_pool_in_which_all_try_at_once_is_found(found, monkeypatch):
    monkeypatch.setattr(Backoff, "may_try", lambda self, now: now >= self.retry_at)
    assert "two attempts at once" in await found()


async def test_a_pool_that_does_not_wait_is_found(found, monkeypatch):
    monkeypatch.setattr(
        Backoff, "may_try", lambda self, now: not (self.failures and self._probing)
    )
    assert "too early" in await found()


async def test_attempts_that_ask_nobody_are_found(found, monkeypatch):
    open_ = opening._open

    async def twice(params):
        with contextlib.suppress(Exception):
            (await open_(params)).close()
        return await open_(params)

    monkeypatch.setattr(opening, "_open", twice)
    assert "attempts that nobody allowed" in await found()


async def test_intervals_that_do_not_grow_are_found(found, monkeypatch):
    monkeypatch.setattr(backoff, "LONGEST_S", backoff.FIRST_S)
    assert "the next attempt is not in its bounds" in await found()


async def test_pools_that_try_in_step_are_found(found, monkeypatch):
    monkeypatch.setattr(backoff.random, "uniform", lambda low, high: high)
    assert "pools keep step" in await found()


async def test_a_pool_that_waits_too_long_is_found(found, monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_S", 900.0)
    monkeypatch.setattr(backoff, "LONGEST_S", 900.0)
    monkeypatch.setattr(away, "PATIENCE_S", 0.5)
    kinds = await found(failures=1)
    assert "the next attempt is not in its bounds" in kinds
    assert "still away after the return" in kinds
