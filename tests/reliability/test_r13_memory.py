"""R13, its part about HTTP: memory over 1 million requests: the slope is within noise.

The short form sends 800 requests in four rounds, after a warm-up, the full one 1,000,000 in
fifty: all kinds of views, a 404 and a response in a thread among them. After each round the
objects that the garbage collector knows are counted, and the memory of the process is read.
"""

import itertools
import statistics

import pytest

from tests.reliability.findings import Findings, Found
from tests.reliability.load import MIB, POOL, Loaded, send
from tests.reliability.scale import FULL, LONG_S, size
from tests.reliability.test_r11_loop_at_load import books, paths  # noqa: F401 - a fixture

pytestmark = pytest.mark.timeout(LONG_S)

ROUNDS = size(4, full=50)
A_ROUND = size(200, full=20_000)
AT_ONCE = 8
# Per request, or socket: what is kept of each is a whole object at least, and tens of bytes.
# Other things come and go by a few dozens.
OBJECTS = 0.01 if FULL else 0.5
BYTES = 8
# Over a short run, where what is allocated in arenas says little about a slope.
MEMORY = 12 * MIB


@pytest.fixture
def measured(books, request, tmp_path):  # noqa: F811 - a fixture
    """`await measured("/more/")`: send, count, apply the rule, judge."""

    async def run(*more, rounds=ROUNDS, count=A_ROUND):
        findings = Findings(f"R13, {rounds} rounds of {count} requests")
        loop = request.config.getoption("loop")
        wanted = paths(count, *more)
        # As many connections at each look: one of SQLite's is some forty objects.
        pool = {"min_size": POOL}
        limits = {"SQLITE_INLINE_MS": 10_000}  # nor are there more workers, or less
        async with Loaded(findings, tmp_path, loop=loop, pool=pool, limits=limits) as server:
            await send(server.port, paths(count), findings, at_once=AT_ONCE)
            await server.ask("/objects/")
            await server.remember()
            objects, memory = [], []
            findings.counts.clear()
            for _ in range(rounds):
                await send(server.port, wanted, findings, at_once=AT_ONCE)
                await server.settle()
                objects.append((await server.ask("/objects/"))["objects"])
                memory.append(server.memory)
                await server.ask("/lags/")  # which are kept until somebody asks
            measure(findings, objects, memory, count, of="request")
        findings.judge()
        return findings

    return run


def measure(findings, objects, memory, count, *, of):
    """Judge the slopes without the beginning, which may still fill caches.

    Of a short run the middle one of its steps counts: what is kept of each request is in all of
    them, and a cache that is filled late is in one.
    """
    rounds = range(len(objects))
    half = len(objects) // 2 if FULL else 1
    sent = [number * count for number in rounds][half:]
    if FULL:
        slope = statistics.linear_regression(sent, objects[half:]).slope
    else:
        steps = [after - before for before, after in itertools.pairwise(objects)]
        slope = statistics.median_low(steps) / count
    findings.measured[f"objects a {of}"] = slope
    if slope > OBJECTS:
        findings.add("objects are kept", objects)
    slope = statistics.linear_regression(sent, memory[half:]).slope
    findings.measured[f"bytes a {of}"] = slope
    findings.measured["more memory MB"] = more = (memory[-1] - memory[0]) / MIB
    if (FULL and slope > BYTES) or (not FULL and more > MEMORY / MIB):
        findings.add("memory is kept", [round(size / MIB, 1) for size in memory])


async def test_nothing_of_a_request_is_kept(measured):
    findings = await measured()
    assert findings.counts["requests"] == ROUNDS * A_ROUND


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_requests_that_are_kept_are_found(measured):
    with pytest.raises(Found) as caught:
        await measured("/keeps/", rounds=3, count=100)
    print(caught.value)
    assert "objects are kept" in caught.value.kinds
