"""R5: back ends killed 5 a second: 0 wrong results, 0 lost commits reported as done.

The short form runs 120 operations for each of 3 seeds, on pools of 1 and 4, and kills a back
end at every ninth step of the work (about 30 in a run); the full one 10,000. Operations read,
loop over server-side cursors, write in transactions, with savepoints, with tasks that share a
transaction, in autocommit mode, and through the request handler. An operation that was reported
as done must be there, whole; one that failed before its COMMIT must not; one whose COMMIT
failed may be there, whole. The pool recovers: at the end every back end is killed, and the next
statements find new ones without an error.
"""

import contextlib

import pytest
from django.db import DatabaseError
from django.test import override_settings

from onloop.asgi import get_asgi_application
from onloop.db import transaction
from onloop.db.backends.postgresql.base import PsycopgDriver
from onloop.db.pool import Pool
from tests.database import LeftBehind
from tests.project.library.models import Author
from tests.reliability import kills
from tests.reliability.findings import Findings, TheRule, found_by, pool_of
from tests.reliability.random_cancels import rows_seen_from_outside
from tests.reliability.scale import LONG_S, RULE_S, SEEDS, size

pytestmark = [
    pytest.mark.only_on("postgresql"),
    pytest.mark.timeout(LONG_S),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

COUNT = size(120, full=10_000)


@pytest.fixture
def killed(db_clean, tmp_path):
    """`await killed(seed, pool)`: run, apply the rule, judge."""

    async def run(seed, max_size, count=COUNT, *, patience_s=RULE_S, every=9):
        findings = Findings(f"R5, seed {seed}, pool of {max_size}")
        with (
            pool_of(max_size, timeout=6 * patience_s),
            override_settings(ROOT_URLCONF=kills.__name__),
            db_clean.connect() as outsider,
        ):
            await Author.objects.abulk_create(Author(name=name) for name in kills.FIXED)
            harness = kills.Kills(
                seed,
                get_asgi_application(),
                outsider,
                count=count,
                workers=2 * max_size + 1,
                every=every,
                stop_early=patience_s < 1,
            )
            async with TheRule(findings, tmp_path, timeout_s=patience_s):
                await harness.run(findings)
            harness.check_rows(rows_seen_from_outside(db_clean))
        findings.judge()
        return findings

    return run


@pytest.mark.parametrize("max_size", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_reported_as_done_is_done_while_back_ends_are_killed(
    killed, seed, max_size
):
    findings = await killed(seed, max_size)
    assert findings.counts["kills"] > COUNT // 10
    assert findings.counts["failed"] > findings.counts["kills"] // 10
    assert findings.counts["done"] > COUNT // 4


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(killed, db_clean):
    """`await found("slot lost")`: that one of some small runs finds such a fault."""

    async def run(wanted, count=80, **options):
        async def one(seed):
            with contextlib.suppress(LeftBehind):  # by the fault, in the run before
                db_clean.clean()
            await killed(seed, 1, count, patience_s=0.1, **options)

        await found_by(one, wanted)

    return run


async def test_a_failed_commit_that_is_reported_as_done_is_found(found, monkeypatch):
    leave = transaction.leave

    def optimistic(self, exc_type, exc, tb):
        try:
            leave(self, exc_type, exc, tb)
        except DatabaseError:
            if exc_type is not None:
                raise

    monkeypatch.setattr(transaction, "leave", optimistic)
    await found("lost although reported as done", every=3)


async def test_a_pool_that_lends_dead_connections_is_found(found, monkeypatch):
    monkeypatch.setattr(PsycopgDriver, "is_alive", lambda self, connection: True)
    await found("next work failed")


async def test_a_pool_that_does_not_count_a_broken_connection_out_is_found(found, monkeypatch):
    # Closed, and its slot forgotten.
    monkeypatch.setattr(Pool, "discard", lambda self, connection: connection.close())
    # Few: from then on each of them waits for the pool's whole time-out.
    await found("slot lost", count=12, every=3)


async def test_an_answer_that_is_another_tasks_is_found(found, monkeypatch):
    from psycopg import Cursor

    fetchone = Cursor.fetchone
    last = []

    def late(self):
        last.append(fetchone(self))
        return last.pop(0) if len(last) > 1 else last[0]

    monkeypatch.setattr(Cursor, "fetchone", late)
    await found("wrong result")
