"""R9: 10,000 interleaved tasks: 0 leaks of transaction, session setting, user or language
between them.

The short form runs 400 tasks, up to 60 at a time, on a pool of 8 (SQLite: 20 and 40); the full
one 10,000. Each puts on a language, a time zone, and in its transaction an isolation level and
three session settings (SET LOCAL; on PostgreSQL), as a bare task, in a scope or as the request
of a user, and looks for its own in children, threads, a scope inside of the block and after it.
A fifth of them is cancelled, a seventh fails, and some end with autocommit switched off.
"""

import asyncio
import contextlib

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.utils import translation

from onloop.asgi import get_asgi_application
from onloop.db import node as nodes
from onloop.db import scope
from onloop.db.backends.base import ScopedWrapper
from onloop.db.scope import Scope
from tests.database import LeftBehind
from tests.reliability import crowd
from tests.reliability.findings import Findings, TheRule, found_by, pool_of
from tests.reliability.scale import LONG_S, RULE_S, size

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(400, full=10_000)
AT_ONCE = {"postgresql": 60, "sqlite": 20}  # who writes to SQLite waits for all others
# Where a block opens a scope of its own inside, it holds two connections: with fewer than twice
# as many as there are tasks, all of them could wait for a second one for ever.
POOL = {"postgresql": 8, "sqlite": 40}


@pytest.fixture
def crowded(db_clean, tmp_path):
    """`await crowded(seed)`: run, apply the rule, judge."""

    async def run(seed, count=COUNT, *, patience_s=RULE_S, threads=True):
        findings = Findings(f"R9, seed {seed}")
        with (
            pool_of(POOL[connection.vendor], timeout=6 * patience_s),
            override_settings(
                ROOT_URLCONF=crowd.__name__, ONLOOP={"TURN_TIMEOUT": 6 * patience_s}
            ),
        ):
            harness = crowd.Crowd(
                seed,
                get_asgi_application(),
                count=count,
                at_once=AT_ONCE[connection.vendor],
                spare_connections=connection.vendor == "sqlite",
                stop_early=patience_s < 1,
                threads=threads,
            )
            async with TheRule(findings, tmp_path, timeout_s=patience_s):
                await harness.run(findings)
        findings.judge()
        return findings

    return run


async def test_nothing_of_a_task_is_found_in_another(crowded):
    findings = await crowded(0)
    assert findings.measured["inside at once, at most"] > 4
    assert findings.counts["lived"] > COUNT // 2


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(crowded, db_clean):
    """`await found("leak of user")`: what one of some small runs finds, that among it.

    Who meets whom is chance, also with the same seed: a single run may miss a fault. Each finds
    an empty database, as rows of the one before would be faults of their own.
    """

    async def run(*wanted, **options):
        async def one(seed):
            with contextlib.suppress(LeftBehind):  # by the fault, in the run before
                db_clean.clean()
            await crowded(seed, 200, patience_s=0.1, **options)

        return await found_by(one, *wanted, tries=10)

    return run


async def test_a_wrapper_that_all_tasks_share_is_found(found, monkeypatch):
    shared = Scope(asyncio.current_task())
    find = scope.current_scope

    def current():
        name = asyncio.current_task().get_name()
        return shared if name.startswith("member") else find()

    monkeypatch.setattr(scope, "current_scope", current)
    # Nor may the store look past it, at the scope that the task of a bridge has of its own.
    monkeypatch.setattr(scope, "Bridge", None)
    # No threads: two that use one connection at once crash the process, driver and all.
    await found("leak of autocommit", "leak of transaction", threads=False)
    shared.release()


async def test_a_block_that_every_task_joins_is_found(found, monkeypatch):
    """As if membership were looked up when a query runs, not when its task was made."""
    open_blocks = []
    innermost = nodes.innermost

    def latest(alias):
        node = innermost(alias)
        if node is not None:
            open_blocks.append(node)
        elif open_blocks and not open_blocks[-1].ended:
            return open_blocks[-1]
        return node

    monkeypatch.setattr(nodes, "innermost", latest)
    await found("leak of transaction", threads=False)


@pytest.mark.only_on("postgresql")
async def test_a_session_setting_that_outlives_its_transaction_is_found(found, monkeypatch):
    begin = crowd.Member.begin

    def for_the_session(self):
        begin(self)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('onloop.who', %s, false)", [str(self.number)])

    monkeypatch.setattr(crowd.Member, "begin", for_the_session)
    # Onloop sees such statements; here it does not.
    monkeypatch.setattr(ScopedWrapper, "before_statement", lambda *args: None)
    await found("leak of session settings")


async def test_a_connection_that_comes_back_with_autocommit_off_is_found(found, monkeypatch):
    """The next one's rows are in a transaction that it knows nothing of."""
    hand_back = ScopedWrapper._hand_back

    def as_it_is(self, connection):
        self.autocommit = self.settings_dict["AUTOCOMMIT"]
        hand_back(self, connection)

    monkeypatch.setattr(ScopedWrapper, "_hand_back", as_it_is)
    if connection.vendor == "postgresql":
        from onloop.db.backends.postgresql.opened import AsOpened

        monkeypatch.setattr(AsOpened, "restore", lambda self, connection: None)
    await found("leak of autocommit", "error without a cause")


async def test_a_language_that_all_tasks_share_is_found(found, monkeypatch):
    worn = []
    monkeypatch.setattr(translation, "activate", worn.append)
    monkeypatch.setattr(translation, "get_language", lambda: worn[-1])
    await found("leak of language")


async def test_a_rollback_that_commits_is_found(found, monkeypatch):
    monkeypatch.setattr(BaseDatabaseWrapper, "_rollback", BaseDatabaseWrapper._commit)
    await found("leak of uncommitted rows")


async def test_a_user_who_is_anothers_is_found(found, monkeypatch):
    from django.contrib.auth import get_user

    seen = {}

    def cached(request):
        return seen.setdefault("user", get_user(request))

    async def acached(request):
        return cached(request)

    monkeypatch.setattr("django.contrib.auth.middleware.auser", acached)
    monkeypatch.setattr("django.contrib.auth.middleware.get_user", cached)
    await found("leak of user")
