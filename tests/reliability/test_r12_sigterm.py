"""R12: 100 SIGTERMs under load: 0 requests lost that the application had received.

The short form ends uvicorn twice and Granian once; the full one each of the four servers 25
times. Sixteen clients send requests that write two rows in a transaction: awaiting, waiting in
the database, in a thread, and with a response in pieces; on uvicorn and PostgreSQL two of them
would never end. Who was received and is done in time is answered in full, and its rows are
there. Who is cancelled is rolled back. Hooks of the lifespan are left after the last request,
pools are closed, the server has no back end any more, and the exit code is the documented one.
"""

import asyncio

import pytest
from django.db import connection

from tests.db.eventually import eventually
from tests.reliability import terms
from tests.reliability.findings import Findings, Found
from tests.reliability.random_cancels import rows_seen_from_outside
from tests.reliability.scale import FULL, LONG_S, size

pytestmark = [pytest.mark.timeout(LONG_S)]

ROUNDS = {"uvicorn": size(2, full=25), "granian": size(1, full=25)}
if FULL:
    ROUNDS |= {"hypercorn": 25, "daphne": 25}


@pytest.fixture
def ended(db_clean, request, tmp_path):
    """`await ended(server, rounds)`: run, apply the rule, judge."""

    async def run(server, rounds, *, first_seed=0, **options):
        loop = request.config.getoption("loop") if server != "daphne" else "asyncio"
        findings = Findings(f"R12, {server}, {rounds} SIGTERMs")
        for seed in range(first_seed, first_seed + rounds):
            term = terms.Term(seed, server, tmp_path, loop=loop, **options)
            await term.run(findings)
            if db_clean.kind == "postgresql":
                await _no_back_end_is_left(db_clean, findings)
            term.check(rows_seen_from_outside(db_clean))
            db_clean.clean()  # waits for whoever still has a transaction open
        findings.judge()
        return findings

    return run


async def _no_back_end_is_left(databases, findings):
    async def none():
        return not await asyncio.to_thread(databases.activity, application_name=terms.BACK_ENDS)

    try:
        await eventually(none, "the end of its back ends")
    except AssertionError:
        left = databases.activity(application_name=terms.BACK_ENDS)
        findings.add("left behind: back ends", left)


@pytest.mark.parametrize("server", ROUNDS)
async def test_a_server_that_is_told_to_end_finishes_what_it_has_received(ended, server):
    findings = await ended(server, ROUNDS[server])
    assert findings.counts["SIGTERMs"] == ROUNDS[server]
    assert findings.counts["done"] >= terms.CLIENTS * ROUNDS[server]
    if terms.ENDINGS[server].cancels_after_s is not None and connection.vendor == "postgresql":
        assert findings.counts["cancelled"] > 0


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(ended):
    """`await found("careless")`: the kinds of faults that one end of uvicorn finds."""

    async def run(fault):
        with pytest.raises(Found) as caught:
            await ended("uvicorn", 1, site=f"tests.reliability.terms_faults:{fault}")
        print(caught.value)
        return caught.value.kinds

    return run


async def test_a_shutdown_that_looks_at_nothing_is_found(found):
    kinds = await found("careless")
    assert "left behind: pools, requests" in kinds
    if connection.vendor == "postgresql":  # where some requests are cancelled at the end
        assert "hooks left under requests" in kinds


@pytest.mark.only_on("postgresql")
async def test_work_that_is_cancelled_and_not_rolled_back_is_found(found):
    assert "there although cancelled" in await found("torn")
