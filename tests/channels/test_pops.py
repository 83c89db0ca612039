"""Messages in Redis: each is received once, whoever shares a channel, whoever is cancelled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from onloop.channels.redis import RedisChannelLayer

DEADLINE_S = 90
MANY = 600


@pytest.fixture
async def layers(redis_server):
    """`layers(3)`: as many, each as of a process of its own."""
    made = []

    def make(count):
        made.extend(RedisChannelLayer([redis_server.url], capacity=MANY) for _ in range(count))
        return made[-count:]

    yield make
    await make(1)[0].flush()
    for layer in made:
        await layer.close_pools()


async def send(layer, channel, numbers):
    for number in numbers:
        await layer.send(channel, {"type": "job", "number": number})


async def test_of_several_who_share_a_channel_one_gets_each_message(layers):
    got = Counter()

    async def work(layer):
        while got.total() < MANY:
            got[(await layer.receive("jobs"))["number"]] += 1

    sender, *workers = layers(4)
    await send(sender, "jobs", range(MANY))
    tasks = [asyncio.create_task(work(worker)) for worker in workers]
    await asyncio.wait(tasks, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert got == Counter(range(MANY))


@pytest.mark.parametrize("local", [False, True], ids=["shared", "of the process"])
async def test_none_is_lost_when_readers_are_cancelled(layers, local):
    """At any moment: as a message is on its way, when it has come, as it is put back."""
    sender, reader = layers(2)
    channel = await reader.new_channel() if local else "jobs"
    sending = asyncio.create_task(send(sender, channel, range(MANY)))
    got = []
    chance = random.Random(7)
    async with asyncio.timeout(DEADLINE_S):
        while len(got) < MANY:
            reading = asyncio.create_task(reader.receive(channel))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                got.append(reading.result()["number"])
    await sending
    assert sorted(got) == list(range(MANY))


async def test_a_reader_that_was_cancelled_holds_no_message_back(layers):
    """Nobody goes on with what it has begun: a message that comes then stays in Redis."""
    sender, reader = layers(2)
    channel = await reader.new_channel()
    reading = asyncio.create_task(reader.receive(channel))
    while not reader._pops._under_way:
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    (popping,) = reader._pops._under_way
    await sender.send(channel, {"type": "job", "number": 1})
    await asyncio.wait([popping])
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.receive(channel))["number"] == 1
    assert not reader._pops._left
