"""R8: 1,000 clients on a pool of 10: bounded memory (< 50 MB more), a bounded queue, and 503
with Retry-After in less than 100 ms beyond it.

The short form has 150 clients. All ask at once for a row that an outsider has locked, so ten
requests hold a connection and nobody gets any further: who is served, who waits and who is
refused can be counted, once by the limits on requests and once by the pool's `max_waiting`.
Others come while it is full; how long their refusals take is measured, and for 99 of 100 judged
in the full run. Then the row is let go, and everybody who waited is answered.
"""

import asyncio
import time

import pytest

from tests.db.eventually import eventually
from tests.project.library.models import Author
from tests.reliability.findings import Findings, Found
from tests.reliability.load import MIB, POOL, Loaded
from tests.reliability.scale import FULL, HANG_S, LONG_S, PATIENCE_S, size
from tests.reliability.wire import CUT, Client

pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.timeout(LONG_S)]

CLIENTS = size(150, full=1000)
WAITING = CLIENTS // 5
LATE = size(30, full=300)
MEMORY = 50 * MIB
REFUSED_MS = 100

# What may wait in all, and where: for a slot, or for a connection.
BOUNDS = {
    "requests": {
        "limits": {
            "MAX_REQUESTS": POOL + 5,
            "MAX_QUEUE": WAITING - 5,
            "QUEUE_TIMEOUT": PATIENCE_S,
        },
        "pool": {},
    },
    # With the default of 1000 requests that are served at once.
    "pool": {"limits": {}, "pool": {"max_waiting": WAITING, "timeout": PATIENCE_S}},
}


class Crowd:
    """Clients that ask at once, and what they were answered."""

    def __init__(self, server, findings, path):
        self.server = server
        self.findings = findings
        self.path = path
        self.statuses = []

    async def one(self):
        try:
            async with Client(self.server.port) as client:
                answer = await client.get(self.path)
        except CUT as exc:
            self.findings.add("no answer", repr(exc))
            return
        self.statuses.append(answer.status)
        if answer.status == 503 and answer.headers.get("retry-after") != "1":
            self.findings.add("503 without Retry-After", answer.headers)
        elif answer.status not in (200, 503):
            self.findings.add("wrong answer", answer)

    async def settled(self):
        """What the server says once every client is answered, has a connection or waits."""
        stats = await self.server.ask("/stats/")
        pool = stats["pool"]
        arrived = len(self.statuses) + stats["queued"] + pool["requests_waiting"]
        arrived += pool["pool_size"] - pool["pool_available"]
        return stats if arrived == CLIENTS else None

    async def late(self):
        """Who comes when it is full is refused, and soon."""
        times_ms = []
        for _ in range(LATE):
            begun = time.monotonic()
            await self.one()
            times_ms.append((time.monotonic() - begun) * 1000)
            if self.statuses.pop() != 503:
                self.findings.add("queue not bounded", "one more was let in")
        times_ms.sort()
        measured = self.findings.measured
        measured["median refusal ms"] = times_ms[LATE // 2]
        measured["p99 refusal ms"] = p99 = times_ms[int(0.99 * LATE)]
        measured["longest refusal ms"] = times_ms[-1]
        if FULL and p99 > REFUSED_MS:
            self.findings.add("late refusal", f"{p99:.0f} ms")


@pytest.fixture
def crowded(db_clean, request, tmp_path):
    """`await crowded("pool")`: run, apply the rule, judge."""

    async def run(bound, **options):
        findings = Findings(f"R8, {CLIENTS} clients, bound by {bound}")
        how = BOUNDS[bound]
        author = await Author.objects.acreate(name="held")
        loop = request.config.getoption("loop")
        async with Loaded(
            findings, tmp_path, loop=loop, pool=how["pool"], limits=how["limits"], **options
        ) as server:
            with db_clean.connect() as outsider:
                outsider.autocommit = False
                await _warm(server, findings, author.pk)
                await server.remember()
                outsider.execute("SELECT 1 FROM library_author FOR UPDATE")
                try:
                    async with asyncio.timeout(HANG_S):
                        await _crowd(server, findings, author.pk, outsider)
                finally:
                    outsider.rollback()
        findings.judge()
        return findings

    return run


async def _warm(server, findings, pk):
    """As many connections and as much memory as it takes, but for the crowd."""
    crowd = Crowd(server, findings, f"/held/{pk}/")
    for _ in range(10):
        async with asyncio.TaskGroup() as group:
            for _ in range(POOL):
                group.create_task(crowd.one())


async def _crowd(server, findings, pk, outsider):
    before = server.memory
    crowd = Crowd(server, findings, f"/held/{pk}/")
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(crowd.one())
        stats = await eventually(crowd.settled, "the last of the clients")
        waiting = stats["queued"] + stats["pool"]["requests_waiting"]
        findings.counts["waiting"] = waiting
        if waiting > WAITING:
            findings.add("queue not bounded", stats)
        else:
            await crowd.late()
        findings.measured["more memory MB"] = more = (server.memory - before) / MIB
        if more > MEMORY / MIB:
            findings.add("memory", f"{more:.0f} MB more")
        if stats["pool"]["pool_size"] > POOL:
            findings.add("more connections than the pool may have", stats)
        outsider.rollback()
    findings.counts["served"] = crowd.statuses.count(200)
    findings.counts["refused"] = crowd.statuses.count(503)
    if len(crowd.statuses) != CLIENTS:
        findings.add("no answer", f"{CLIENTS - len(crowd.statuses)} clients")


@pytest.mark.parametrize("bound", BOUNDS)
async def test_beyond_a_bounded_queue_clients_are_refused_at_once(crowded, bound):
    findings = await crowded(bound)
    assert findings.counts["served"] == POOL + WAITING
    assert findings.counts["refused"] == CLIENTS - POOL - WAITING


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_a_queue_without_a_bound_a_lost_slot_and_memory_are_found(crowded):
    with pytest.raises(Found) as caught:
        await crowded("pool", site="tests.reliability.load_faults:boundless", patience_s=0.5)
    print(caught.value)
    kinds = caught.value.kinds
    assert {"queue not bounded", "left behind: connections lent", "memory"} <= kinds.keys()
