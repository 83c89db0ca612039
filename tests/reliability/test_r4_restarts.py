"""R4: 20 restarts of PostgreSQL under load: full rate within 5 s, only clear errors between.

The short form restarts a server of its own twice, once "fast" and once "immediate", the full
one 20 times, while 9 tasks work on a pool of 4: they read, loop over server-side cursors, write
in transactions, with savepoints, with tasks that share a transaction, in autocommit mode, and
through the request handler. Each attempt is done, or fails with an `OperationalError` (a
request: 503). What failed before its COMMIT is tried again until it is done. An operation that
was reported as done is there, whole and once; the outcome of a COMMIT that was under way may be
unknown, but is never half of it. The full rate is back when 30 works in a row, begun after the
server's return, were done: the time is measured, and judged in the full form.
"""

import contextlib

import pytest
from django.db import OperationalError
from django.db.transaction import Atomic
from django.test import override_settings

from onloop.asgi import chain, get_asgi_application
from onloop.db.pool.backoff import Backoff
from tests.project.library.models import Author
from tests.reliability import kills
from tests.reliability.findings import Findings, TheRule, found_by, pool_of
from tests.reliability.random_cancels import rows_seen_from_outside
from tests.reliability.restarts import Restarts
from tests.reliability.scale import LONG_S, PATIENCE_S, RULE_S, size

pytestmark = [
    pytest.mark.only_on("postgresql"),
    pytest.mark.timeout(LONG_S),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

RESTARTS = size(2, full=20)


@pytest.fixture
def restarted(own_server, silent_log, tmp_path):
    """`await restarted()`: run, apply the rule, judge."""

    async def run(restarts=RESTARTS, *, patience_s=PATIENCE_S, rule_s=RULE_S, kinds=()):
        findings = Findings(f"R4, {restarts} restarts")
        with (
            own_server.in_use(),
            pool_of(4, timeout=30),
            override_settings(ROOT_URLCONF=kills.__name__),
        ):
            await Author.objects.abulk_create(Author(name=name) for name in kills.FIXED)
            harness = Restarts(
                0,
                get_asgi_application(),
                own_server,
                restarts=restarts,
                workers=9,
                patience_s=patience_s,
                kinds=kinds,
            )
            async with TheRule(findings, tmp_path, timeout_s=rule_s):
                await harness.run(findings)
            harness.check_rows(rows_seen_from_outside(own_server.databases))
            with own_server.databases.connect() as outsider:
                harness.check_once(outsider)
        findings.judge()
        return findings

    return run


async def test_only_clear_errors_and_nothing_lost_while_the_server_restarts(restarted):
    findings = await restarted()
    assert findings.counts["fast restarts"] + findings.counts["immediate restarts"] == RESTARTS
    assert findings.counts["done"] > 30 * RESTARTS
    assert findings.counts["retried"] > RESTARTS


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(restarted, own_server):
    """`await found("wrong answer", "read", …)`: that one restart finds such a fault."""

    async def run(wanted, *kinds):
        async def one(_):
            own_server.databases.clean()
            await restarted(1, patience_s=1.5, rule_s=0.1, kinds=kinds)

        await found_by(one, wanted)

    return run


async def test_a_pool_that_does_not_try_again_is_found(found, monkeypatch):
    monkeypatch.setattr(Backoff, "may_try", lambda self, now: not self.failures)
    await found("the full rate is not back in time")


async def test_a_block_that_hides_why_it_failed_is_found(found, monkeypatch):
    leave = Atomic.__aexit__

    async def leave_in_silence(self, exc_type, exc, tb):
        with contextlib.suppress(OperationalError):
            await leave(self, exc_type, exc, tb)
        return isinstance(exc, OperationalError)

    monkeypatch.setattr(Atomic, "__aexit__", leave_in_silence)
    await found("lost although reported as done", "write")


async def test_a_request_that_is_answered_500_is_found(found, monkeypatch):
    monkeypatch.setattr(chain, "ConnectionLost", NotImplementedError)
    await found("wrong answer", "request")
