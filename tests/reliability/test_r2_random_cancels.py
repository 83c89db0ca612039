"""R2: 10,000 requests cancelled at random, 3 seeds, pools of 1, 4, 10, asyncio and uvloop,
lowest and highest Python: 0 slots lost, 0 cancels swallowed.

The short form runs 250 units of work for each seed and pool, half of them requests, half tasks;
the full one 10,000. A unit is one of sixteen works (queries, transactions, savepoints, broken
loops over server-side cursors, `gather`, thread hops, streams, uploads, ...), cancelled by the
server, by its client's leaving or by a time-out at a random wait.
"""

import asyncio

import pytest
from django.test import override_settings

from onloop import bridge
from onloop.asgi import get_asgi_application, handler
from onloop.db.pool import Pool
from onloop.db.scope import Scope
from tests.reliability import works
from tests.reliability.findings import Findings, Found, TheRule, pool_of
from tests.reliability.random_cancels import RandomCancels, rows_seen_from_outside
from tests.reliability.scale import LONG_S, SEEDS, size
from tests.project.library.models import Author

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(250, full=10_000)


@pytest.fixture
def cancelled_at_random(db_clean, tmp_path, monkeypatch):
    """`await cancelled_at_random(seed, pool, count)`: run, apply the rule, judge."""
    # The watch for the client's leaving begins with the request's first wait.
    monkeypatch.setattr(handler, "WATCH_AFTER_S", 0)

    async def run(seed, max_size, count=COUNT, only=None):
        findings = Findings(f"R2, seed {seed}, pool of {max_size}")
        # Fewer than the pool has, and more than it has.
        at_once = 2 * max_size + 3
        with pool_of(max_size), override_settings(ROOT_URLCONF=works.__name__):
            await Author.objects.abulk_create(Author(name=name) for name in works.FIXED)
            harness = RandomCancels(
                seed, get_asgi_application(), count=count, at_once=at_once, only=only
            )
            async with TheRule(findings, tmp_path):
                await harness.run(findings)
                await harness.until_quiet()
            await harness.check_rows(findings, rows_seen_from_outside(db_clean))
        findings.judge()
        return findings

    return run


@pytest.mark.parametrize("max_size", [1, 4, 10])
@pytest.mark.parametrize("seed", SEEDS)
async def test_units_that_are_cancelled_at_random_lose_nothing(
    cancelled_at_random, seed, max_size
):
    findings = await cancelled_at_random(seed, max_size)
    assert findings.counts["cancelled"] > COUNT // 8
