"""What is saved reaches every socket, whatever happens to its announcement."""

from __future__ import annotations

import asyncio

import pytest

from onloop import rooms
from onloop.rooms import hub as hubs
from onloop.rooms import local, sending, wire
from onloop.rooms.models import Message, Room
from tests.loops import until
from tests.rooms.conftest import IN_MEMORY, LONG, SHORT

pytestmark = pytest.mark.usefixtures("db_clean")


def unannounced(room, body):
    """As of a process that is killed between COMMIT and announcement."""
    return Message.objects.append(room, body)


async def save_unannounced(room, body):
    from onloop import bridge

    return await bridge.run(unannounced, room, body)


async def test_a_message_that_nobody_announced_comes_with_the_heartbeat(visit, set_up):
    set_up(IN_MEMORY, SHORT)
    ada = await visit("lobby")
    await save_unannounced("lobby", "quiet")
    assert await ada.numbers(1) == [1]


async def test_a_gap_is_read_when_the_next_is_heard(visit, set_up):
    set_up(IN_MEMORY, LONG)
    ada, bob = await visit("lobby"), await visit("lobby")
    for body in range(250):
        await save_unannounced("lobby", body)
    await rooms.asend("lobby", "loud")
    assert await ada.numbers(251) == list(range(1, 252))
    assert await bob.numbers(251) == list(range(1, 252))


async def test_announcements_that_overtake_each_other_are_put_in_order(visit, set_up):
    set_up(IN_MEMORY, LONG)
    ada = await visit("lobby")
    saved = [await save_unannounced("lobby", body) for body in range(6)]
    for number in (2, 5, 1, 0, 3, 4, 5, 0):
        await sending.publish(["lobby"], wire.message_event("lobby", saved[number]))
    await rooms.asend("lobby", "last")
    assert await ada.numbers(7) == [1, 2, 3, 4, 5, 6, 7]


async def test_messages_that_were_deleted_are_no_gap_for_ever(visit, set_up):
    set_up(IN_MEMORY, LONG)
    ada = await visit("lobby")
    for body in range(4):
        await save_unannounced("lobby", body)
    await Message.objects.filter(number__in=[2, 4]).adelete()
    await rooms.asend("lobby", "five")
    assert await ada.numbers(5) == [1, 3, 5]
    gone = [await save_unannounced("lobby", body) for body in range(2)]
    await Message.objects.filter(number__gt=5).adelete()
    await sending.publish(["lobby"], wire.message_event("lobby", gone[1]))
    (room,) = hubs._hubs[asyncio.get_running_loop()].rooms.values()
    await until(lambda: room.last == 7)
    await rooms.asend("lobby", "eight")
    assert await ada.numbers(8) == [1, 3, 5, 8]


async def test_a_full_channel_is_counted_and_loses_nothing(visit, set_up, caplog):
    layer = set_up({**IN_MEMORY, "CONFIG": {"capacity": 3}}, SHORT)
    ada = await visit("lobby")
    for number in range(40):
        await save_unannounced("lobby", number)
    group = wire.group_of("lobby")
    for _ in range(10):  # without a step of the loop in between, so that nobody reads
        await layer.group_send(
            group, {"type": "onloop.room", "room": "lobby", "event": {"type": "noise"}}
        )
    assert await ada.numbers(40) == list(range(1, 41))
    assert layer.stats()["dropped"] > 0
    assert "is full (capacity 3)" in caplog.text


MOMENTS = ["as the room is opened", "when it has been read", "before the history", "after it"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_comes_while_one_joins_is_neither_lost_nor_doubled(
    visit, set_up, monkeypatch, moment
):
    """Between the group and the history, and between the history and the first event."""
    set_up(IN_MEMORY, LONG)
    await rooms.asend("lobby", "before")
    await visit("elsewhere")  # the first heartbeat is over
    from tests.project.sockets.consumers import OpenRoom

    async def send_at(now):
        if now == moment and await Message.objects.acount() == 1:
            await rooms.asend("lobby", moment)

    ask, page = hubs.Hub._ask, OpenRoom._page

    async def slow_ask(self, fn, *args, **kwargs):
        if fn is not hubs._read:
            return await ask(self, fn, *args, **kwargs)
        await send_at(MOMENTS[0])
        found = await ask(self, fn, *args, **kwargs)
        await send_at(MOMENTS[1])
        return found

    async def slow_page(self, **kwargs):
        await send_at(MOMENTS[2])
        found = await page(self, **kwargs)
        await send_at(MOMENTS[3])
        return found

    monkeypatch.setattr(hubs.Hub, "_ask", slow_ask)
    monkeypatch.setattr(OpenRoom, "_page", slow_page)
    ada = await visit("lobby", after=0)
    assert await ada.numbers(2) == [1, 2]


async def test_a_client_that_does_not_read_costs_an_inbox_and_loses_no_message(
    visit, set_up, monkeypatch
):
    set_up(IN_MEMORY, LONG)
    from tests.project.sockets.consumers import OpenRoom

    reads, at_the_end, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    send = OpenRoom.send_json

    async def slow(self, content, close=False):
        if self.query().get("who") == "slow" and content["type"] == "message":
            await reads.wait()
            if content["number"] == 11:  # the last that was in its inbox
                at_the_end.set()
                await goes_on.wait()
        await send(self, content, close)

    monkeypatch.setattr(OpenRoom, "send_json", slow)
    monkeypatch.setattr(OpenRoom, "inbox_size", 10)
    dropped = local.Member.dropped
    sleeper, ada = await visit("lobby", who="slow"), await visit("lobby")
    for number in range(60):
        await rooms.asend("lobby", number)
        await ada.numbers(number + 1)
    (room,) = hubs._hubs[asyncio.get_running_loop()].rooms.values()
    assert all(len(member._events) <= 10 for member in room.members)
    reads.set()
    await at_the_end.wait()
    await rooms.asend("lobby", "when there is room again, before the others are read")
    await ada.numbers(61)
    goes_on.set()
    assert await sleeper.numbers(61) == list(range(1, 62))
    assert (await sleeper.next_of("present"))["present"] == ["slow"]
    assert local.Member.dropped > dropped
    await rooms.asend("lobby", "live again")
    assert await sleeper.numbers(62) == list(range(1, 63))


async def test_one_that_was_away_for_too_long_gets_the_newest_page(visit, set_up, monkeypatch):
    set_up(IN_MEMORY, LONG)
    from tests.project.sockets.consumers import OpenRoom

    monkeypatch.setattr(OpenRoom, "catch_up", 60)
    for number in range(120):
        await rooms.asend("lobby", number)
    ada = await visit("lobby", after=7)
    assert ada.frames[-1]["reset"] is True
    assert ada.seen() == list(range(71, 121))
    bob = await visit("lobby", after=9999)
    assert bob.frames[-1]["reset"] is True
    assert bob.seen() == list(range(71, 121))
    await rooms.asend("lobby", "new")
    assert (await bob.next_of("message"))["number"] == 121


async def test_a_database_that_fails_while_a_room_is_looked_into(visit, set_up, monkeypatch):
    """The room is looked into again with the next heartbeat."""
    set_up(IN_MEMORY, SHORT)
    ada = await visit("lobby")
    read_page, failures = hubs._read_page, []

    def failing(*args):
        if len(failures) < 2:
            failures.append(args)
            raise OSError("of the test")
        return read_page(*args)

    monkeypatch.setattr(hubs, "_read_page", failing)
    await save_unannounced("lobby", "one")
    await rooms.asend("lobby", "two")
    assert await ada.numbers(2) == [1, 2]
    assert len(failures) == 2


async def test_a_room_that_nobody_sent_to_costs_no_row(visit, set_up):
    set_up(IN_MEMORY, LONG)
    await visit("lobby")
    assert not await Room.objects.aexists()
