"""R10: 10,000 transfers under kills, restarts, cancels: the sum never changes.

The short form carries out 150 transfers for each of 3 seeds on a pool of 5, between six
accounts and 8 at a time; the full one 10,000. They wait for each other's rows, deadlock, fail
to serialize, are cancelled, timed out, fail, and (PostgreSQL) lose a back end at every fortieth
step. An outsider adds up the balances after every tenth transfer, while the others go on, and
at the end. On SQLite a second process does the same to the same file. Restarts of the server
are R4's.
"""

import asyncio
import contextlib
import json
import sys

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from onloop.db import transaction
from tests.reliability import bank
from tests.reliability.findings import Findings, Found, TheRule, pool_of
from tests.reliability.kills import Killer
from tests.reliability.scale import LONG_S, RULE_S, SEEDS, size

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(150, full=10_000)


@pytest.fixture
def accounts(db_clean):
    return bank.open_accounts()


@pytest.fixture
def transferred(db_clean, accounts, tmp_path):
    """`await transferred(seed)`: run, apply the rule, judge."""

    def ask(query):
        with db_clean.connect() if db_clean.kind == "postgresql" else db_clean.file() as other:
            return other.execute(query).fetchall()

    async def run(seed, count=COUNT, *, kill=False, other_process=False, patience_s=RULE_S):
        findings = Findings(f"R10, seed {seed}" + (" with kills" if kill else ""))
        with pool_of(5, timeout=6 * patience_s), contextlib.ExitStack() as stack:
            killer = None
            if kill:
                killer = Killer(
                    stack.enter_context(db_clean.connect()), bank.random.Random(seed), 40
                )
            harness = bank.Bank(
                seed,
                count=count,
                at_once=8,
                outsider=ask,
                killer=killer,
                accounts=accounts,
                stop_early=patience_s < 1,
            )
            beside = await second_process(seed, count, accounts) if other_process else None
            async with TheRule(findings, tmp_path, timeout_s=patience_s):
                await harness.run(findings)
                if beside is not None:
                    await read_findings(beside, findings)
            if beside is None:
                harness.check()
            else:
                await harness.look()
        findings.judge()
        return findings

    return run


async def second_process(seed, count, accounts):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.reliability.bank_process",
        str(seed + 1000),
        str(count),
        *map(str, accounts),
        stdout=asyncio.subprocess.PIPE,
    )


async def read_findings(process, findings):
    out, _ = await process.communicate()
    assert process.returncode == 0
    result = json.loads(out.splitlines()[-1])
    print(result["told"])
    for kind in result["kinds"]:
        findings.add(kind, result["told"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_sum_never_changes(transferred, seed):
    findings = await transferred(seed)
    assert findings.counts["done"] > COUNT // 4
    assert findings.counts["looks from outside"] >= COUNT // 10
    if connection.vendor == "postgresql":
        assert findings.counts["retried"] > 0


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_sum_never_changes_while_back_ends_are_killed(transferred, seed):
    findings = await transferred(seed, kill=True)
    assert findings.counts["kills"] > COUNT // 40
    assert findings.counts["done"] > COUNT // 4


@pytest.mark.only_on("sqlite")
async def test_the_sum_never_changes_while_two_processes_transfer(transferred):
    findings = await transferred(0, other_process=True)
    assert findings.counts["looks from outside"] > 0


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(transferred):
    """`await found()`: the kinds of faults that a small run finds."""

    async def run(**options):
        with pytest.raises(Found) as caught:
            await transferred(0, 100, patience_s=0.5, **options)
        print(caught.value)
        return caught.value.kinds

    return run


async def test_a_rollback_that_commits_is_found(found, monkeypatch):
    monkeypatch.setattr(BaseDatabaseWrapper, "_rollback", BaseDatabaseWrapper._commit)
    assert "the sum has changed" in await found()


async def test_a_block_that_does_not_begin_a_transaction_is_found(found, monkeypatch):
    """Each statement is committed by itself; the outsider sees it during the run."""

    async def nothing(self, *exc):
        if exc[1:2] and isinstance(exc[1], Exception):
            return
        await asyncio.sleep(0)

    monkeypatch.setattr(bank.transaction.Atomic, "__aenter__", nothing)
    monkeypatch.setattr(bank.transaction.Atomic, "__aexit__", nothing)
    monkeypatch.setattr(QuerySet, "select_for_update", QuerySet.all)
    assert "the sum has changed" in await found()


@pytest.mark.only_on("postgresql")
async def test_a_row_lock_that_does_not_lock_is_found(found, monkeypatch):
    monkeypatch.setattr(QuerySet, "select_for_update", QuerySet.all)
    monkeypatch.setattr(bank, "_set_level", lambda level: None)
    assert "the sum has changed" in await found()


async def test_a_failure_that_is_reported_as_done_is_found(found, monkeypatch):
    leave = transaction.aleave

    async def optimistic(self, exc_type, exc, tb):
        await leave(self, exc_type, exc, tb)
        return isinstance(exc, ZeroDivisionError)

    monkeypatch.setattr(bank.transaction.Atomic, "__aexit__", optimistic)
    assert "balances" in await found()
