"""A task that is cancelled leaves no answer behind: the next command gets its own."""

from __future__ import annotations

import asyncio
import random

import pytest

from onloop import bridge
from tests.cache.conftest import all_answered, client, in_time, lanes


async def fill(cache):
    await cache.aset_many({str(number): number for number in range(50)})


async def right_answers(cache):
    """Each command gets its own answer, on every connection."""
    for lane in lanes():
        assert lane.is_usable()
    keys = list(range(50))
    random.shuffle(keys)
    found = await in_time(asyncio.gather(*(cache.aget(str(key)) for key in keys)))
    assert found == keys
    assert await cache.aget_many(["3", "none", "4"]) == {"3": 3, "4": 4}


SCENARIOS = {
    "get": lambda cache: cache.aget("7"),
    "many": lambda cache: cache.aget_many(list("1234")),
    "set": lambda cache: cache.aset("other", "x" * 100_000),
    "set_many": lambda cache: cache.aset_many({"other": 1, "another": 2}),
    "incr": lambda cache: cache.aincr("count"),
    "get_or_set": lambda cache: cache.aget_or_set("made", lambda: 1),
    "in a bridge": lambda cache: bridge.run(lambda: (cache.get("7"), cache.set("other", 1))),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_command_that_is_cancelled_at_any_of_its_waits(
    cache, cancel_sweep, leak_ledger, name
):
    await fill(cache)
    await cache.aset("count", 1)

    async def prepare():
        await cache.adelete("made")

    async def check(outcome):
        await right_answers(cache)
        assert len(client().flights) == 0

    sweep = await cancel_sweep(lambda: SCENARIOS[name](cache), prepare=prepare, check=check)
    assert sweep.waits >= 1
    assert len(lanes()) <= 4  # connections are kept, not thrown away with each cancel
    await all_answered()


async def test_the_first_command_that_is_cancelled_while_it_connects(cache, cancel_sweep):
    async def prepare():
        for lanes_ in client()._lanes if cache_has_client() else []:
            lanes_.close()

    async def check(outcome):
        assert await in_time(cache.aget("none", "default")) == "default"

    await cancel_sweep(lambda: cache.aget("none"), prepare=prepare, check=check)


def cache_has_client():
    from onloop.cache import clients

    return asyncio.get_running_loop() in clients._of_loop._made


async def test_of_those_who_wait_for_a_connection_one_is_cancelled(configure, proxy):
    cache = configure(f"redis://127.0.0.1:{proxy.port}")
    proxy.black_hole("down")
    asked = [asyncio.create_task(cache.aget("none", number)) for number in range(5)]
    while proxy.counters.accepted == 0:
        await asyncio.sleep(0)
    for task in asked[:2]:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    proxy.forward()
    assert await in_time(asyncio.gather(*asked[2:])) == [2, 3, 4]
    assert proxy.counters.accepted == 1


async def test_answers_that_are_on_their_way_are_read_and_dropped(configure, proxy):
    """The network holds the answers back, so that all commands are cancelled before."""
    cache = configure(f"redis://127.0.0.1:{proxy.port}", OPTIONS={"max_connections": 1})
    await fill(cache)
    (lane,) = lanes()
    for _ in range(3):
        proxy.black_hole("down")
        asked = [asyncio.create_task(cache.aget(str(number))) for number in range(10)]
        await asyncio.sleep(0)
        while lane.load < 10:
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        assert lane.load == 10
        later = asyncio.create_task(cache.aget("42"))
        while lane.load < 11:
            await asyncio.sleep(0)
        proxy.forward()
        assert await in_time(later) == 42
        await right_answers(cache)
    assert lane in lanes()


async def test_of_many_tasks_that_are_cancelled_at_random_none_gets_another_s_answer(cache):
    await fill(cache)
    chance = random.Random(7)
    wrong = []

    async def reader(number):
        found = await cache.aget(str(number % 50))
        if found != number % 50:
            wrong.append((number, found))

    for _ in range(20):
        tasks = [asyncio.create_task(reader(number)) for number in range(100)]
        while any(not task.done() for task in tasks):
            for task in chance.sample(tasks, 10):
                task.cancel()
            await asyncio.sleep(0)
        assert wrong == []
    await right_answers(cache)


async def test_a_task_that_is_cancelled_while_the_network_is_full(configure, proxy):
    cache = configure(f"redis://127.0.0.1:{proxy.port}", OPTIONS={"max_connections": 1})
    await fill(cache)
    (lane,) = lanes()
    proxy.black_hole("up")
    large = [asyncio.create_task(cache.aset(f"l{n}", b"x" * 3_000_000)) for n in range(8)]
    waiting = asyncio.create_task(cache.aget("1"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert lane.load < 9  # the others wait until some of it is sent
    for task in (*large, waiting):
        task.cancel()
    await asyncio.wait([*large, waiting])
    proxy.forward()
    await right_answers(cache)
