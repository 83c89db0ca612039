"""On every kind of loop, with eager tasks, and with tasks in bridges."""

from __future__ import annotations

import asyncio

import pytest

from onloop import http
from onloop.http import sync
from tests.db.eventually import eventually
from tests.http.conftest import with_deadlines
from tests.loops import FACTORIES

# anyio's task groups, and so httpx, know Python's own eager factory and no other; uvloop takes
# that one from Python 3.13.3 on.
KNOWN = [name for name in FACTORIES if name != "uvloop-eager"]

pytestmark = [
    pytest.mark.usefixtures("configure"),
    pytest.mark.parametrize("runner", KNOWN, indirect=True),
]


async def use_all(url, upstream):
    assert (await http.client().get(f"{url}/flaky/a/1/503")).status_code in (200, 503)
    async with http.client().stream("GET", f"{url}/endless") as response:
        async for _ in response.aiter_bytes():
            break
    results = await with_deadlines(
        lambda s: http.fan_out([f"{url}/ok"] * 5 + [f"{url}/hang"], deadline=s),
        lambda results: results[4].ok,
    )
    assert [result.ok for result in results] == [True] * 5 + [False]
    task = asyncio.create_task(http.client().get(f"{url}/hang"))
    await eventually(lambda: upstream.under_way == 1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await http.aclose()
    await eventually(lambda: upstream.connections == 0)


def test_on_every_loop(runner, upstream):
    runner.run(use_all(upstream.url, upstream))


def test_in_bridges(bridged, upstream):
    bridged(use_all(upstream.url, upstream))


def test_plain_calls_in_bridges(bridged, upstream):
    async def work():
        text = sync.get(f"{upstream.url}/ok").text
        await http.aclose()
        return text

    assert bridged(work()) == "ok"
