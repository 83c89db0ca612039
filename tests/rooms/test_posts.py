"""What a post saves: the project's own rows in one transaction with it, and once by its key."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from onloop import rooms
from onloop.rooms.errors import Refused
from onloop.rooms.models import Message, Room
from tests.project.library.models import Author
from tests.project.sockets.consumers import OpenRoom
from tests.rooms.conftest import IN_MEMORY, LONG
from tests.rooms.processes import serving
from tests.rooms.visitors import RemoteVisitor


@pytest.fixture(autouse=True)
def _in_memory(set_up):
    set_up(IN_MEMORY)


class SavesAuthor(OpenRoom):
    """Saves a row of its own with each post."""

    async def save(self, body, key):
        message = await super().save(body, key)
        if not message.repeated:
            await Author.objects.acreate(name=f"{body}, number {message.number}")
        if body == "refused":
            raise Refused("Not that.")
        if body == "fails":
            raise LookupError("of the save")
        return message


def app(consumer=SavesAuthor):
    async def application(scope, receive, send):
        scope = {**scope, "url_route": {"kwargs": {"room": "lobby"}}}
        await consumer.as_asgi()(scope, receive, send)

    return application


async def authors():
    return [name async for name in Author.objects.values_list("name", flat=True)]


async def test_the_project_s_rows_are_saved_with_the_message(visit):
    ada = await visit("lobby", app=app())
    assert await ada.post("one") == 1
    assert (await ada.next_of("message"))["body"] == "one"
    assert await authors() == ["one, number 1"]


async def test_both_are_rolled_back_when_it_is_refused(visit):
    ada, bob = await visit("lobby", app=app()), await visit("lobby", app=app())
    await ada.say(type="post", body="refused", ref=1)
    assert await ada.next_of("error") == {"type": "error", "error": "Not that.", "ref": 1}
    assert await ada.post("next") == 1
    assert (await bob.next_of("message"))["body"] == "next"  # nothing else was announced
    assert await authors() == ["next, number 1"]


async def test_and_when_it_fails(visit):
    ada, bob = await visit("lobby", app=app()), await visit("lobby")
    await ada.say(type="post", body="fails")
    await asyncio.wait([ada.socket.future])
    with pytest.raises(LookupError, match="of the save"):
        ada.socket.future.result()
    assert await bob.post("next") == 1
    assert await authors() == []


# --- keys -------------------------------------------------------------------------------------


async def test_a_post_that_is_sent_again_is_saved_once(visit):
    ada = await visit("lobby", app=app())
    for ref in (1, 2):
        await ada.say(type="post", body="one", key="k1", ref=ref)
        assert await ada.next_of("posted") == {"type": "posted", "number": 1, "ref": ref}
    assert await ada.post("two") == 2  # no number is left out
    assert await ada.numbers(2) == [1, 2]
    heard = [frame for frame in ada.frames if frame["type"] == "message"]
    assert [frame.get("key") for frame in heard] == ["k1", None]
    assert await authors() == ["one, number 1", "two, number 2"]


async def test_keys_belong_to_their_sender_and_their_room(db_clean):
    ada, bob = [await User.objects.acreate_user(name) for name in ("ada", "bob")]
    for sender in (ada, bob, None):
        for room in ("lobby", "hall"):
            first = await rooms.asend(room, "x", sender=sender, key="k")
            again = await rooms.asend(room, "y", sender=sender, key="k")
            assert (again.pk, again.body, again.repeated) == (first.pk, "x", True)
            assert not first.repeated
    assert await Message.objects.acount() == 6
    assert {room.last async for room in Room.objects.all()} == {3}


async def test_of_ten_at_once_one_is_saved(db_clean):
    sent = await asyncio.gather(*(rooms.asend("lobby", n, key="k") for n in range(10)))
    assert {message.number for message in sent} == {1}
    assert [message.repeated for message in sent].count(False) == 1
    assert (await rooms.asend("lobby", "next")).number == 2


async def test_what_was_rolled_back_may_be_sent_again(db_clean):
    with pytest.raises(LookupError):
        async with transaction.atomic():
            await rooms.asend("lobby", "x", key="k")
            raise LookupError
    message = await rooms.asend("lobby", "x", key="k")
    assert (message.number, message.repeated) == (1, False)


@pytest.mark.parametrize("key", ["", "x" * 101, "a\nb", "\0", "\ud800", 7, ["k"], True])
async def test_a_key_that_cannot_be_is_refused(visit, key):
    ada = await visit("lobby", app=app())
    await ada.say(type="post", body="x", key=key, ref=1)
    error = await ada.next_of("error")
    assert (error["ref"], error["error"][:20]) == (1, "The key of a message")
    with pytest.raises(ValueError, match="The key of a message"):
        await rooms.asend("lobby", "x", key=key)
    assert await authors() == []


async def test_who_comes_back_sends_again_what_was_not_answered(asgi_servers, db_clean):
    """Over real sockets, the connection cut before the answer is read."""
    server = asgi_servers.get(serving("posts", IN_MEMORY, LONG))
    frame = {"type": "post", "body": "once", "key": "k1"}
    async with RemoteVisitor(server, "lobby") as ada:
        await ada.say(**frame)
        ada.remote.transport.abort()
    async with RemoteVisitor(server, "lobby", after=0) as ada:
        await ada.say(**frame)
        assert (await ada.next_of("posted"))["number"] == 1
        assert await ada.post("next") == 2
    assert [m.body for m in await rooms.ahistory("lobby")] == ["once", "next"]
