"""Numbers have the order of commits, without gaps, whatever transactions do at once."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from django.db import connection, connections, transaction

import onloop
from onloop import rooms
from onloop.rooms.models import Message
from tests.rooms.conftest import IN_MEMORY, LONG

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture(autouse=True)
def _memory(set_up):
    set_up(IN_MEMORY, LONG)


class Undone(Exception):
    pass


async def test_a_number_is_given_out_when_the_one_before_is_committed(visit):
    """The one that began first commits last: whoever has seen 2 has seen 1."""
    ada = await visit("lobby")
    go = asyncio.Event()
    first_has_it = asyncio.Event()

    async def first():
        async with onloop.scope(), transaction.atomic():
            message = await rooms.asend("lobby", "first")
            first_has_it.set()
            await go.wait()
        return message.number

    async def second():
        await first_has_it.wait()
        async with onloop.scope():
            return (await rooms.asend("lobby", "second")).number

    one, two = asyncio.create_task(first()), asyncio.create_task(second())
    await first_has_it.wait()
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not two.done()
    assert ada.socket.output_queue.empty(), "it was announced before it was committed"
    go.set()
    assert [await one, await two] == [1, 2]
    assert await ada.numbers(2) == [1, 2]


async def test_the_number_of_what_is_rolled_back_is_given_out_again(visit):
    ada = await visit("lobby")
    with pytest.raises(Undone):
        async with transaction.atomic():
            assert (await rooms.asend("lobby", "undone")).number == 1
            raise Undone
    async with transaction.atomic():
        try:
            async with transaction.atomic():
                await rooms.asend("lobby", "undone as well")
                raise Undone
        except Undone:
            pass
        await rooms.asend("lobby", "done")
    assert await ada.numbers(1) == [1]
    assert ada.frames[-1]["body"] == "done"


@pytest.mark.parametrize("seed", range(3))
async def test_tasks_and_threads_that_send_at_once_are_heard_in_order(visit, seed):
    """40 senders, of whom a third roll back, on two sockets; one comes in the middle."""
    ada = await visit("lobby")
    chance = random.Random(seed)
    numbers = []

    def work(fails):
        with transaction.atomic():
            message = rooms.send("lobby", "x")
            if fails:
                raise Undone
        numbers.append(message.number)

    def in_thread(fails):
        try:
            work(fails)
        except Undone:
            pass
        finally:
            connections.close_all()

    async def in_task(fails, pause_s):
        try:
            async with onloop.scope(), transaction.atomic():
                message = await rooms.asend("lobby", "x")
                await asyncio.sleep(pause_s)
                if fails:
                    raise Undone
            numbers.append(message.number)
        except Undone:
            pass

    plans = [chance.random() < 0.3 for _ in range(40)]
    threads = [threading.Thread(target=in_thread, args=(fails,)) for fails in plans[:8]]
    for thread in threads:
        thread.start()
    async with asyncio.TaskGroup() as group:
        for fails in plans[8:24]:
            group.create_task(in_task(fails, chance.random() / 200))
        bob = await visit("lobby", after=0)
        for fails in plans[24:]:
            group.create_task(in_task(fails, chance.random() / 200))
    for thread in threads:
        await asyncio.to_thread(thread.join)
    expected = list(range(1, plans.count(False) + 1))
    assert sorted(numbers) == expected
    assert await ada.numbers(expected[-1]) == expected
    assert await bob.numbers(expected[-1]) == expected


async def test_two_that_make_a_room_at_once_make_one():
    async def one():
        async with onloop.scope():
            return (await rooms.asend("new", "x")).number

    found = await asyncio.gather(*(one() for _ in range(8)))
    assert sorted(found) == list(range(1, 9))
    assert await Message.objects.acount() == 8


@pytest.mark.parametrize("body", [float("nan"), {"a": "\x00"}, "\ud800", object(), {1, 2}])
async def test_a_body_that_cannot_be_saved_is_refused(body):
    with pytest.raises((ValueError, TypeError)):
        await rooms.asend("lobby", body)


async def test_what_looks_like_a_nul_is_text():
    body = {"text": r"\u0000", "ä": [None, 1.5, True]}
    await rooms.asend("lobby", body)
    assert (await rooms.ahistory("lobby"))[0].body == body


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", 7, None])
def test_a_name_that_cannot_be_is_refused(name):
    with pytest.raises(ValueError, match="name of a room"):
        rooms.send(name, "x")
    assert not connection.in_atomic_block
