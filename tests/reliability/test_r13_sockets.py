"""R13, its part about sockets: memory over 100,000 of them: the slope is within noise.

The short form opens 320 sockets in four rounds, after a warm-up, the full one 100,000 in fifty.
Each asks a question that takes a query. A third leaves with a close frame, a third by a
connection that is reset, and a third is reset while its consumer is in a transaction.
"""

import asyncio

import pytest
from websockets.asyncio.client import connect

from tests.reliability.findings import Findings, Found
from tests.reliability.load import POOL, Loaded
from tests.reliability.scale import LONG_S, PATIENCE_S, size
from tests.reliability.test_r11_loop_at_load import books  # noqa: F401 - a fixture
from tests.reliability.test_r13_memory import measure

pytestmark = pytest.mark.timeout(LONG_S)

ROUNDS = size(4, full=50)
A_ROUND = size(80, full=2_000)
AT_ONCE = 8
SITE = "tests.reliability.load_sockets_site:application"


async def visit(port, path, number, findings):
    address, origin = f"ws://127.0.0.1:{port}{path}", f"http://127.0.0.1:{port}"
    async with asyncio.timeout(PATIENCE_S):
        socket = await connect(address, origin=origin, compression=None, ping_interval=None)
        resets, busy = number % 3 > 0, number % 3 == 2
        await socket.send("wait" if busy else "read")
        answer = await socket.recv()
        if not answer.startswith("waits" if busy else "author"):
            findings.add("wrong answer", answer)
        if resets:
            socket.transport.abort()
        await socket.close()
    findings.counts["sockets"] += 1


async def open_and_leave(port, path, count, findings):
    numbers = iter(range(count))

    async def work():
        for number in numbers:
            await visit(port, path, number, findings)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


@pytest.fixture
def measured(books, request, tmp_path):  # noqa: F811 - a fixture
    """`await measured("/desk/")`: open sockets, count, apply the rule, judge."""

    async def run(path, rounds=ROUNDS, count=A_ROUND):
        findings = Findings(f"R13, {rounds} rounds of {count} sockets")
        loop = request.config.getoption("loop")
        pool = {"min_size": POOL}  # as in R13's requests
        limits = {"SQLITE_INLINE_MS": 10_000}
        async with Loaded(
            findings, tmp_path, loop=loop, pool=pool, limits=limits, site=SITE
        ) as server:
            await open_and_leave(server.port, path, count, findings)
            await server.ask("/objects/")
            await server.remember()
            findings.counts.clear()
            objects, memory = [], []
            for _ in range(rounds):
                await open_and_leave(server.port, path, count, findings)
                await server.settle()
                objects.append((await server.ask("/objects/"))["objects"])
                memory.append(server.memory)
                await server.ask("/lags/")
            measure(findings, objects, memory, count, of="socket")
        findings.judge()
        return findings

    return run


async def test_nothing_of_a_socket_is_kept(measured):
    findings = await measured("/desk/")
    assert findings.counts["sockets"] == ROUNDS * A_ROUND


async def test_sockets_that_are_kept_are_found(measured):
    with pytest.raises(Found) as caught:
        await measured("/keeps/", rounds=3, count=40)
    print(caught.value)
    assert "objects are kept" in caught.value.kinds
