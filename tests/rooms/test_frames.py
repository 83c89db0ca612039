"""What a client may send, and what it gets for what it may not."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import AnonymousUser, User

from onloop import rooms
from onloop.rooms import hub as hubs
from onloop.rooms.consumers import RoomConsumer
from onloop.rooms.errors import Refused
from onloop.rooms.models import Message
from tests.channels.conftest import DEADLINE_S, Socket
from tests.rooms.conftest import IN_MEMORY

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture(autouse=True)
def _memory(set_up):
    set_up(IN_MEMORY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 100_000,
        "7",
        "[]",
        '{"type": null}',
        '{"type": "json"}',
        '{"type": "_post"}',
        '{"type": "nothing"}',
        '{"type": "post"}',
        '{"type": "post", "body": "\\u0000"}',
        '{"type": "post", "body": "\\ud800"}',
        '{"type": "post", "body": NaN}',
        '{"type": "post", "body": "' + "x" * 70_000 + '"}',
        '{"type": "history", "before": "1"}',
        '{"type": "history", "before": 1e400}',
        '{"type": "history", "before": -1}',
        '{"type": "history", "before": true}',
        '{"type": "history", "before": 99999999999999999999}',
        b"bytes",
        '{"type": "post", "body": ' + "[" * 101 + "]" * 101 + "}",
        '{"type": "post", "body": ' + '{"a": ' * 800 + '"\\u0000"' + "}" * 801,
        '{"type": "post", "body": ' + "[" * 3000 + "]" * 3000 + "}",
        '{"type": "nothing", "ref": ' + "[" * 900 + "]" * 900 + "}",
    ],
    ids=range(24),
)
async def test_a_frame_that_cannot_be_is_an_error_and_the_socket_stays(visit, text):
    ada = await visit("lobby")
    kind = "text" if isinstance(text, str) else "bytes"
    await ada.socket.send_input({"type": "websocket.receive", kind: text})
    assert (await ada.next())["type"] == "error"
    assert await ada.post("good") == 1
    assert await Message.objects.acount() == 1


@pytest.mark.parametrize("after", ["-1", "1.5", "x", "", "9" * 30, "%00", "٣"])
async def test_an_after_that_is_no_number_is_none(visit, after):
    await rooms.asend("lobby", "x")
    ada = await visit("lobby", after=after)
    assert ada.seen() == [1]


@pytest.mark.parametrize("name", ["x" * 201, "%0A"])
async def test_an_address_that_names_no_room_is_closed(name):
    from tests.rooms.visitors import application

    socket = Socket(application(), f"/rooms/{name}/")
    assert await socket.connect(timeout=DEADLINE_S) == (False, 4404)


async def test_errors_name_the_frame_that_they_are_for(visit):
    ada = await visit("lobby")
    await ada.say(type="nothing", ref="r1")
    assert (await ada.next_of("error"))["ref"] == "r1"


async def test_a_name_that_the_database_cannot_hold_is_cut_and_hides_nobody(visit, monkeypatch):
    """Names of all sockets of a process are written together."""
    from tests.project.sockets.consumers import OpenRoom

    names = ["ada", "b" * 201, "c\0d", "e\ud800f"]
    monkeypatch.setattr(OpenRoom, "who", lambda self: names[int(self.query()["who"])])
    for number in range(4):
        await visit("lobby", who=number)
    assert await rooms.apresent("lobby") == ["ada", "b" * 200, "cd", "ef"]


class Guarded(RoomConsumer):
    async def clean(self, body):
        if "bad" in body:
            raise Refused("Not that.")
        return body.strip()


def as_user(consumer, user):
    async def application(scope, receive, send):
        scope = {**scope, "user": user, "url_route": {"kwargs": {"room": "lobby"}}}
        await consumer.as_asgi()(scope, receive, send)

    return application


async def test_users_come_in_by_default_and_others_do_not(visit):
    ada = await User.objects.acreate_user("ada")
    visitor = await visit("lobby", app=as_user(Guarded, ada))
    assert visitor.frames[0]["present"] == ["ada"]
    await visitor.say(type="post", body="bad word", ref=1)
    refused = await visitor.next_of("error")
    assert refused == {"type": "error", "error": "Not that.", "ref": 1}
    await visitor.post(" good word ")
    message = await Message.objects.select_related("sender").aget()
    assert (message.body, message.sender) == ("good word", ada)
    assert await visitor.numbers(1) == [1]
    socket = Socket(as_user(Guarded, AnonymousUser()), "/")
    assert await socket.connect(timeout=DEADLINE_S) == (False, 4403)
    await socket.leave()


@pytest.mark.parametrize("moment", ["joining", "quiet", "posting"])
async def test_a_socket_that_is_cancelled_is_out_of_the_room(visit, moment, monkeypatch):
    """As servers do at shutdown. The others see it, and the hub ends with the last."""
    watcher = await visit("lobby", who="watcher")
    reached = asyncio.Event()

    async def hang(*args, **kwargs):
        reached.set()
        await asyncio.Event().wait()

    from tests.rooms.visitors import application

    socket = Socket(application(), "/rooms/lobby/?who=ada")
    if moment == "joining":
        monkeypatch.setattr(RoomConsumer, "_send_past", hang)
    if moment == "posting":
        monkeypatch.setattr("onloop.rooms.sending.asend", hang)
    await socket.connect(timeout=DEADLINE_S)
    if moment != "joining":
        while (await socket.receive_json_from(timeout=DEADLINE_S))["type"] != "history":
            pass
    if moment == "posting":
        await socket.send_json_to({"type": "post", "body": 1})
    if moment != "quiet":
        await reached.wait()
    # Who comes and goes between two looks is told neither way.
    while "ada" not in (await watcher.next_of("presence"))["joined"]:
        pass
    await socket.cancel()
    while "ada" not in (await watcher.next_of("presence"))["left"]:
        pass
    assert await rooms.apresent("lobby") == ["watcher"]
    await watcher.socket.leave()
    assert asyncio.get_running_loop() not in hubs._hubs


async def test_a_database_that_fails_as_one_joins_leaves_no_member(visit, monkeypatch):
    def fail(names):
        raise OSError("of the test")

    from tests.rooms.visitors import application

    with monkeypatch.context() as patched:
        patched.setattr(hubs, "_read", fail)
        socket = Socket(application(), "/rooms/lobby/?who=ada")
        await socket.connect(timeout=DEADLINE_S)
        keeper = hubs._hubs[asyncio.get_running_loop()]._keeper
        await asyncio.wait([socket.future], timeout=DEADLINE_S)
        with pytest.raises(OSError, match="of the test"):
            socket.future.result()
    await asyncio.wait([keeper])  # what had been written of it is removed
    ada = await visit("lobby", who="bob")
    assert ada.frames[0]["present"] == ["bob"]
    assert await ada.post("works") == 1


async def test_a_server_that_was_thought_dead_writes_itself_anew(visit, set_up):
    from onloop.rooms.models import Presence, Server

    set_up(IN_MEMORY, 0.2)
    await visit("lobby", who="ada")
    await Server.objects.all().adelete()
    while await rooms.apresent("lobby") != ["ada"]:
        await asyncio.sleep(0.01)
    assert await Presence.objects.acount() == 1
