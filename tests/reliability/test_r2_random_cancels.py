"""R2: 10,000 requests cancelled at random, 3 seeds, pools of 1, 4, 10, asyncio and uvloop,
lowest and highest Python: 0 slots lost, 0 cancels swallowed.

The short form runs 200 units of work for each seed and pool, half of them requests, half tasks;
the full one 10,000. A unit is one of sixteen works (queries, transactions, savepoints, broken
loops over server-side cursors, `gather`, thread hops, streams, uploads, ...), cancelled by the
server, by its client's leaving or by a time-out at a random wait.
"""

import asyncio
import contextlib

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

from onloop import bridge
from onloop.asgi import client, get_asgi_application
from onloop.db.pool import Pool
from onloop.db.scope import Scope
from tests.database import LeftBehind
from tests.project.library.models import Author
from tests.reliability import works
from tests.reliability.findings import Findings, TheRule, found_by, pool_of
from tests.reliability.random_cancels import RandomCancels, rows_seen_from_outside
from tests.reliability.scale import LONG_S, RULE_S, SEEDS, size

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(200, full=10_000)


@pytest.fixture
def cancelled_at_random(db_clean, tmp_path, monkeypatch):
    """`await cancelled_at_random(seed, pool, count)`: run, apply the rule, judge."""
    # The watch for the client's leaving begins with the request's first wait.
    monkeypatch.setattr(client, "WATCH_AFTER_S", 0)

    async def run(seed, max_size, count=COUNT, *, only=None, patience_s=RULE_S):
        findings = Findings(f"R2, seed {seed}, pool of {max_size}")
        at_once = 2 * max_size + 3  # sometimes fewer than the pool has, often more
        with (
            pool_of(max_size, timeout=6 * patience_s),
            override_settings(ROOT_URLCONF=works.__name__),
        ):
            await Author.objects.abulk_create(Author(name=name) for name in works.FIXED)
            harness = RandomCancels(
                seed,
                get_asgi_application(),
                count=count,
                at_once=at_once,
                only=only,
                stop_early=patience_s < 1,
            )
            async with TheRule(findings, tmp_path, timeout_s=patience_s):
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


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(cancelled_at_random, db_clean):
    """`await found("slot lost")`: that one of some small runs finds such a fault."""

    async def run(*wanted, **options):
        async def one(seed):
            with contextlib.suppress(LeftBehind):  # by the fault, in the run before
                db_clean.clean()
            await cancelled_at_random(seed, 1, 120, patience_s=0.1, **options)

        return await found_by(one, *wanted)

    return run


async def test_a_put_that_can_be_cancelled_is_found(found, monkeypatch):
    put = Pool.put
    lost = []

    def waiting_put(self, connection):
        lost.append(connection)
        if bridge.active():
            bridge.await_(asyncio.sleep(0))
        put(self, connection)

    monkeypatch.setattr(Pool, "put", waiting_put)
    await found("slot lost")
    for connection in lost:
        connection.close()


async def test_a_hand_over_that_is_lost_with_its_receiver_is_found(found, monkeypatch):
    lost = []
    monkeypatch.setattr(Pool, "_pass_on", lambda self, value: lost.append(value))
    await found("slot lost", only="breaks")
    for value in lost:
        if hasattr(value, "connection"):
            value.connection.close()


async def test_a_scope_that_is_not_closed_when_its_request_is_cancelled_is_found(
    found, monkeypatch
):
    end = Scope.end
    left = []

    def forgetful(self):
        if self.task.cancelling():
            left.append(self)
        else:
            end(self)

    monkeypatch.setattr(Scope, "end", forgetful)
    await found("left behind: scope")
    monkeypatch.undo()
    for scope in left:
        scope.release()
        scope._surroundings = ()


async def test_a_rollback_that_commits_is_found(found, monkeypatch):
    monkeypatch.setattr(BaseDatabaseWrapper, "_rollback", BaseDatabaseWrapper._commit)
    await found("rows that were not committed")


async def test_a_commit_that_rolls_back_is_found(found, monkeypatch):
    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", BaseDatabaseWrapper._rollback)
    await found("rows lost")


@pytest.mark.only_on("postgresql")  # SQLite's COMMIT does not wait
async def test_a_commit_without_a_shield_is_found(found, monkeypatch):
    monkeypatch.setattr(bridge.Shield, "of_caller", classmethod(lambda cls: None))
    await found("callbacks of on_commit", only="commits")


@pytest.mark.only_on("postgresql")
async def test_a_driver_that_swallows_a_cancel_is_found(found, monkeypatch):
    from onloop.db.backends.postgresql.connection import LoopConnection

    wait = LoopConnection.wait

    def forgiving(self, gen, *args, **kwargs):
        try:
            return wait(self, gen, *args, **kwargs)
        except asyncio.CancelledError:
            return []

    monkeypatch.setattr(LoopConnection, "wait", forgiving)
    await found("cancel swallowed", only="queries")


async def test_a_handler_that_keeps_the_cancellation_of_its_client_is_found(found, monkeypatch):
    monkeypatch.setattr(client.Client, "alone", False)
    await found("error without a cause")
