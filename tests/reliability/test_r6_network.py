"""R6: TCP faults through a proxy (cut, delay, reset, black hole): answer within time-out + 1 s.

Each fault meets a work at each moment: while it connects, while its connection lies idle or is
checked by the pool, when the query was sent, in the middle of the answer, in the middle of
COMMIT and after it; in a scope and in a request by turns. The caller has a result, or an
`OperationalError` (a request: 503); no connection of unknown state goes back to the pool; the
next three works have results, and their own. The short form goes through each once, the full
one 50 times, at random bytes of the answer; there the time is judged too. What bounds it is
`OPTIONS["answer_timeout"]`, and `connect_timeout`.
"""

import itertools

import pytest
from django.test import override_settings

from onloop import bridge
from onloop.asgi import get_asgi_application
from onloop.db.backends.postgresql.base import PsycopgDriver
from onloop.db.backends.postgresql.connection import LoopConnection
from onloop.db.pool import Pool
from tests.reliability import network
from tests.reliability.findings import Findings, TheRule, found_by, pool_of
from tests.reliability.network import FAULTS, MOMENTS, Network
from tests.reliability.random_cancels import rows_seen_from_outside
from tests.reliability.scale import FULL, LONG_S, PATIENCE_S, RULE_S, size

pytestmark = [
    pytest.mark.only_on("postgresql"),
    pytest.mark.timeout(LONG_S),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

TIMES = size(1, full=50)


@pytest.fixture
def struck(db_clean, fault_proxy, silent_log, tmp_path):
    """`await struck(faults, moments)`: run, apply the rule, judge."""

    async def run(faults, moments, times=TIMES, *, hang_s=PATIENCE_S, rule_s=RULE_S):
        findings = Findings(f"R6, {', '.join(faults)}, {times} times")
        ways = itertools.cycle(["scope", "request"])
        with (
            fault_proxy.in_front_of("default"),
            pool_of(2, timeout=2 if FULL else 4, check=PsycopgDriver().check),
            override_settings(ROOT_URLCONF=network.__name__),
        ):
            harness = Network(0, get_asgi_application(), fault_proxy, hang_s=hang_s)
            async with TheRule(findings, tmp_path, timeout_s=rule_s):
                for _ in range(times):
                    for fault in faults:
                        for moment in moments:
                            await harness.run(findings, fault, moment, next(ways))
            harness.check_rows(rows_seen_from_outside(db_clean))
        findings.judge()
        return findings

    return run


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_network_is_a_result_or_a_clear_error_in_time(struck, fault):
    findings = await struck([fault], MOMENTS)
    assert findings.counts["done"] + findings.counts["failed"] == len(MOMENTS) * TIMES
    if fault != "delay":
        assert findings.counts["failed"] >= 4 * TIMES


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def found(struck):
    """`await found("hangs", fault, moment)`: that such a fault is found."""

    async def run(wanted, fault, moment):
        async def one(_):
            hang_s = 2 * network.ANSWER_S
            await struck([fault], [moment], 1, hang_s=hang_s, rule_s=0.1)

        await found_by(one, wanted)

    return run


async def test_a_query_that_waits_for_ever_is_found(found, monkeypatch):
    monkeypatch.setattr(
        LoopConnection,
        "_wait_for_answer",
        lambda self, gen, *_: self._wait_on_loop(gen, None, bridge.current()),
    )
    await found("hangs", "black_hole", "query sent")


async def test_other_dead_connections_that_are_lent_unchecked_are_found(found, monkeypatch):
    monkeypatch.setattr(Pool, "suspect", lambda self: None)
    monkeypatch.setattr(network, "PATIENT_S", network.ANSWER_S)
    await found("next work failed", "half_open", "idle")


async def test_a_connection_of_unknown_state_in_the_pool_is_found(found, monkeypatch):
    monkeypatch.setattr(PsycopgDriver, "is_clean", lambda self, connection: True)
    monkeypatch.setattr(PsycopgDriver, "is_alive", lambda self, connection: True)
    await found("next work failed", "cut", "query sent")
