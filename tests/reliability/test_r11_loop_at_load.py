"""R11: loop held at load on PostgreSQL: p99.9 of its lag < 50 ms, 0 blocking calls on it.

The short form sends 400 requests, the full one 50,000: views that read with lazy relations,
write in transactions, work in a thread, and do nothing. How late the loop wakes every 5 ms is
measured, and judged in the full run. In either no call is made on the loop's thread that may
block: no file is opened, no name looked up, no driver waits for its socket.

"At load" is twenty requests at once, with clients and database on the same two cores. The
number is part of the figure: of requests that are ready in the same pass of the loop each waits
for those before it, half a millisecond apiece, so with two hundred at once the median alone is
beyond the mark. What the process itself has computed meanwhile, all threads together, is told
as the lag "of its own": the rest was somebody else's on the processor. Of fewer than a thousand
looks p99.9 is the longest.
"""

import datetime

import pytest

from tests.project.library.models import Author, Book
from tests.reliability.findings import Findings, Found
from tests.reliability.load import Loaded, send
from tests.reliability.scale import FULL, LONG_S, size

pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.timeout(LONG_S)]

COUNT = size(400, full=50_000)
AT_ONCE = 20
LAG_MS = 50
PATHS = ["/rows/", "/write/{}/", "/thread/", "/plain/", "/rows/"]


def paths(count, *more):
    return [[*PATHS, *more][n % (len(PATHS) + len(more))].format(n) for n in range(count)]


@pytest.fixture
def books(db_clean):
    for number in range(5):
        author = Author.objects.create(name=f"author {number}")
        Book.objects.create(title="B", author=author, published=datetime.date(2001, 2, 3))


@pytest.fixture
def loaded(books, request, tmp_path):
    """`await loaded(paths)`: send them, apply the rule, judge."""

    async def run(wanted, **options):
        findings = Findings(f"R11, {len(wanted)} requests, {AT_ONCE} at once")
        loop = request.config.getoption("loop")
        async with Loaded(findings, tmp_path, loop=loop, **options) as server:
            # What is imported and read for the first time may hold the loop, once.
            await send(server.port, paths(100), findings, at_once=AT_ONCE)
            await server.remember()
            await server.ask("/lags/")
            findings.counts.clear()
            await send(server.port, wanted, findings, at_once=AT_ONCE)
            for call, count in (await server.ask("/stats/"))["blocking"].items():
                findings.add("blocking call on the loop", f"{count} x {call}")
            _measure(findings, await server.ask("/lags/"))
        findings.judge()
        return findings

    return run


def _measure(findings, seen):
    lags, own, collections = seen["lags_ms"], seen["own_ms"], seen["collections_ms"]
    findings.counts["looks at the loop"] = len(lags)
    measured = findings.measured
    measured["median lag ms"] = lags[len(lags) // 2]
    measured["p99.9 lag ms"] = late = p99_9(lags)
    measured["longest lag ms"] = lags[-1]
    measured["p99.9 lag of its own ms"] = p99_9(own)
    measured["longest lag of its own ms"] = own[-1]
    findings.counts["collections"] = len(collections)
    measured["longest collection ms"] = collections[-1] if collections else 0.0
    if FULL and late > LAG_MS:
        findings.add("the loop is held", f"p99.9 {late:.0f} ms")


def p99_9(values):
    return values[int(0.999 * len(values))]


async def test_nothing_blocks_the_loop_at_load(loaded):
    findings = await loaded(paths(COUNT))
    assert findings.counts["requests"] == COUNT
    assert findings.counts["looks at the loop"] > 0


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_a_view_that_blocks_and_a_driver_that_does_are_found(loaded):
    with pytest.raises(Found) as caught:
        await loaded(
            paths(50, "/sleeps/", "/opens/"), site="tests.reliability.load_faults:blocking"
        )
    told = str(caught.value)
    print(told)
    for call in ("time.sleep", "open '", "psycopg.waiting.wait"):
        assert f"x {call}" in told
