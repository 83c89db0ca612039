"""A room on one loop: coming in, posting, hearing, leaving."""

from __future__ import annotations

import pytest

from onloop import rooms
from onloop.rooms import sending
from onloop.rooms.models import Message, Presence, Room, Server
from tests.channels.conftest import DEADLINE_S, Socket
from tests.rooms.visitors import application

pytestmark = pytest.mark.usefixtures("db_clean", "layer")


async def test_what_one_posts_all_hear(visit):
    ada, bob = await visit("lobby"), await visit("lobby")
    assert await ada.post({"text": "hello"}) == 1
    heard = await bob.next_of("message")
    assert (heard["number"], heard["body"], heard["room"]) == (1, {"text": "hello"}, "lobby")
    assert await ada.numbers(1) == [1]
    assert [message.body async for message in Message.objects.all()] == [{"text": "hello"}]


async def test_rooms_do_not_hear_each_other(visit):
    here, there = await visit("here"), await visit("there")
    await rooms.asend("there", "for there")
    await rooms.asend("here", "for here")
    assert (await here.next_of("message"))["body"] == "for here"
    assert (await there.next_of("message"))["body"] == "for there"


async def test_one_announcement_for_several_rooms(visit):
    """Each hears its own name in it, once; also a room that is named twice, and one by one
    where there are more than the layer is asked for at once."""
    here, there, elsewhere = await visit("here"), await visit("there"), await visit("elsewhere")
    empty = [f"empty {number}" for number in range(sending.ROOMS_AT_ONCE)]
    await rooms.aannounce(["here", *empty, "there", "here"], "noise", what="both")
    await rooms.aannounce([], "noise", what="nobody")
    await rooms.aannounce({"elsewhere", "here", "there"}, "noise", what="all")
    for visitor, room in ((here, "here"), (there, "there")):
        for what in ("both", "all"):
            frame = await visitor.next_of("noise")
            assert frame == {"type": "noise", "room": room, "what": what}
    assert (await elsewhere.next_of("noise"))["what"] == "all"
    with pytest.raises(ValueError, match="room"):
        await rooms.aannounce(["here", ""], "noise")


async def test_who_comes_gets_what_was_said(visit):
    for number in range(70):
        await rooms.asend("lobby", number)
    ada = await visit("lobby")
    assert ada.frames[0]["last"] == 70
    assert ada.frames[1]["more"] is True
    assert ada.seen() == list(range(21, 71))
    await ada.say(type="history", before=21)
    page = await ada.next_of("history")
    assert [message["number"] for message in page["messages"]] == list(range(1, 21))
    assert page["more"] is False


async def test_who_comes_back_gets_what_it_missed(visit):
    for number in range(120):
        await rooms.asend("lobby", number)
    ada = await visit("lobby", after=7)
    assert await ada.numbers(120) == list(range(8, 121))


async def test_who_comes_back_and_missed_nothing_gets_an_empty_page(visit):
    ada = await visit("lobby", after=0)
    assert ada.frames[-1]["messages"] == []


async def both_seen_by(visitor):
    """What was written a moment ago may be in the first frame, or come as news."""
    seen = set(visitor.frames[0]["present"])
    for frame in visitor.frames:
        seen.update(frame.get("joined", ()))
    while seen != {"ada", "bob"}:
        seen.update((await visitor.next_of("presence"))["joined"])


async def test_who_is_there(visit):
    ada = await visit("lobby", who="ada")
    assert ada.frames[0]["present"] == ["ada"]
    bob = await visit("lobby", who="bob")
    await both_seen_by(bob)
    await both_seen_by(ada)
    assert await rooms.apresent("lobby") == ["ada", "bob"]
    await bob.socket.leave()
    assert (await ada.next_of("presence"))["left"] == ["bob"]
    assert await rooms.apresent("lobby") == ["ada"]
    await ada.socket.leave()
    assert await rooms.apresent("lobby") == []
    assert not await Server.objects.aexists()
    assert not await Presence.objects.aexists()


async def test_two_sockets_of_one_are_one_present(visit):
    watcher = await visit("lobby", who="watcher")
    first, second = await visit("lobby", who="ada"), await visit("lobby", who="ada")
    while "ada" not in (await watcher.next_of("presence"))["joined"]:
        pass
    await first.socket.leave()
    assert await rooms.apresent("lobby") == ["ada", "watcher"]
    await second.socket.leave()
    while "ada" not in (await watcher.next_of("presence"))["left"]:
        pass
    assert all(not f.get("left") for f in watcher.frames[:-1])


async def test_typing_is_heard_and_not_saved(visit):
    ada, bob = await visit("lobby", who="ada"), await visit("lobby")
    await ada.say(type="typing")
    assert await bob.next_of("typing") == {"type": "typing", "room": "lobby", "who": "ada"}
    assert not await Room.objects.aexists()


async def test_who_may_not_come_in_does_not(open_socket):
    socket = Socket(application(), "/rooms/lobby/?refused")
    accepted, code = await socket.connect(timeout=DEADLINE_S)
    assert (accepted, code) == (False, 4403)
    await socket.leave()
