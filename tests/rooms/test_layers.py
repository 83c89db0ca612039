"""Channel layers: threads, full channels, a Redis that goes and comes back, the dead."""

from __future__ import annotations

import asyncio
import gc
import json
import threading

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from redis import Redis

from onloop import rooms
from onloop.rooms import wire
from onloop.rooms.errors import AnnounceFailed
from tests.loops import until
from tests.redis import RedisServer
from tests.rooms.conftest import IN_MEMORY, LONG, SHORT, close_layer

BOTH = ["RedisChannelLayer", "RedisPubSubChannelLayer"]


class Ear(AsyncJsonWebsocketConsumer):
    """A consumer that knows nothing of rooms."""

    async def connect(self):
        await self.channel_layer.group_add("all", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard("all", self.channel_name)

    async def heard(self, message):
        await self.send_json(message["what"])

    async def receive_json(self, content):
        await self.send_json(content)


@pytest.fixture
async def ear(open_socket, set_up):
    from channels.layers import channel_layers

    opened = []

    async def listen():
        opened.append(await open_socket(Ear.as_asgi()))
        return opened[-1]

    yield listen
    for socket in opened:
        if not socket.future.done():
            await socket.leave()
    await close_layer(channel_layers["default"])


async def hear(socket):
    return await socket.receive_json_from(timeout=90)


@pytest.mark.usefixtures("db_clean")
async def test_a_thread_wakes_the_consumers_of_the_loop(set_up, ear):
    """The loop has nothing else to do, so only the message can wake it."""
    layer = set_up(IN_MEMORY, LONG, STALL_MS=0)  # the watchdog would wake it
    socket = await ear()
    asleep = threading.Event()

    def send():
        asleep.wait()
        asyncio.run(layer.group_send("all", {"type": "heard", "what": "of a thread"}))

    thread = threading.Thread(target=send)
    thread.start()
    asyncio.get_running_loop().call_later(0.05, asleep.set)
    assert await hear(socket) == "of a thread"
    thread.join()


async def test_a_full_channel_in_memory_is_counted(set_up, caplog):
    layer = set_up({**IN_MEMORY, "CONFIG": {"capacity": 2}})
    channel = await layer.new_channel()
    await layer.group_add("all", channel)
    for number in range(5):
        await layer.group_send("all", {"type": "heard", "what": number})
    assert layer.stats() == {"dropped": 3}
    assert caplog.text.count("is full") == 1, "it is told once, not for each"
    assert (await layer.receive(channel))["what"] == 0


async def test_a_full_channel_in_redis_is_counted(set_up, redis_server, caplog):
    layer = set_up(redis_server.layer(capacity=2))
    first, second = await layer.new_channel(), await layer.new_channel("other")
    await layer.group_add("all", first)
    await layer.group_add("all", second)
    for number in range(5):
        await layer.group_send("all", {"type": "heard", "what": number})
    assert layer.stats() == {"dropped": 6}
    assert caplog.text.count("is full") == 1
    assert [(await layer.receive(channel))["what"] for channel in (first, second)] == [0, 0]
    await layer.close_pools()


async def test_a_channel_in_several_groups_gets_a_message_to_all_of_them_once(
    set_up, redis_server
):
    """On one Redis, and on two, among which groups and channels are divided."""
    other = RedisServer()
    other.start()
    try:
        for hosts in ([redis_server.url], [redis_server.url, other.url]):
            layer = set_up(redis_server.layer(hosts=hosts, capacity=2))
            channels = [await layer.new_channel(f"of{number}") for number in range(6)]
            for group in ("a", "b", "c"):
                for channel in channels[:-1]:
                    await layer.group_add(group, channel)
            await layer.group_add("d", channels[-1])
            for number in range(3):
                await layer.group_send_many(
                    ["a", "nobody", "c", "b"], {"type": "heard", "what": number}
                )
            await layer.group_send_many(["d", "a"], {"type": "heard", "what": "last"})
            assert layer.stats() == {"dropped": 5 + 5}, "what does not go in is counted"
            for channel in channels[:-1]:
                assert [(await layer.receive(channel))["what"] for _ in "01"] == [0, 1]
            assert (await layer.receive(channels[-1]))["what"] == "last"
            await layer.close_pools()
    finally:
        other.stop()


async def test_a_full_channel_of_pub_sub_is_counted(set_up, redis_server):
    layer = set_up(redis_server.layer("RedisPubSubChannelLayer", capacity=2))
    channel = await layer.new_channel()
    await layer.group_add("all", channel)
    for number in range(5):
        await layer.group_send("all", {"type": "heard", "what": number})
    await until(lambda: layer.stats()["dropped"] == 3)
    assert (await layer.receive(channel))["what"] == 0
    await layer.flush()


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.usefixtures("db_clean")
async def test_consumers_outlive_redis_and_hear_again(set_up, redis_server, ear, kind, caplog):
    layer = set_up(redis_server.layer(kind))
    sockets = [await ear(), await ear()]
    await layer.group_send("all", {"type": "heard", "what": "before"})
    assert [await hear(socket) for socket in sockets] == ["before", "before"]
    redis_server.stop()
    await until(lambda: "is away" in caplog.text)
    await sockets[0].send_json_to("meanwhile")
    assert await hear(sockets[0]) == "meanwhile"
    redis_server.start()
    await until(lambda: "is back" in caplog.text)
    await layer.group_send("all", {"type": "heard", "what": "after"})
    assert [await hear(socket) for socket in sockets] == ["after", "after"]
    assert caplog.text.count("is away") == 1


async def test_redis_that_goes_right_after_a_message_leaves_no_traceback(
    set_up, redis_server, monkeypatch, caplog
):
    """Channels begins a task then that nobody waits for."""
    layer = set_up(redis_server.layer())
    read = layer._brpop_with_clean

    async def read_and_lose_redis(*args, **kwargs):
        found = await read(*args, **kwargs)
        if found is not None:
            redis_server.stop()
        return found

    monkeypatch.setattr(layer, "_brpop_with_clean", read_and_lose_redis)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "heard", "what": "it"})
    assert (await layer.receive(channel))["what"] == "it"
    await until(lambda: not layer.receive_cleaners)
    gc.collect()
    assert "never retrieved" not in caplog.text
    await layer.close_pools()


async def test_what_a_killed_process_left_in_a_group_expires(set_up, redis_server, monkeypatch):
    from onloop.channels import redis

    layer = set_up(redis_server.layer(group_expiry=1))
    dead = redis.RedisChannelLayer([redis_server.url])
    await dead.group_add("all", await dead.new_channel())
    (task,) = dead._renewing.values()
    task.cancel()  # as if its process were killed
    channel = await layer.new_channel()
    await layer.group_add("all", channel)
    members = Redis(port=redis_server.port)
    assert members.zcard("asgi:group:all") == 2
    waiting = asyncio.create_task(layer.receive(channel))
    await until(lambda: members.zrange("asgi:group:all", 0, -1) == [channel.encode()])
    await asyncio.sleep(1.2)  # longer than a membership holds that is not renewed
    assert members.zrange("asgi:group:all", 0, -1) == [channel.encode()]
    waiting.cancel()
    await until(lambda: not members.exists("asgi:group:all"))
    members.close()
    await layer.close_pools()
    await dead.close_pools()


class Fails(Ear):
    async def heard(self, message):
        # Another is there for it as it ends.
        await self.channel_layer.send(self.channel_name, message)
        raise LookupError("of the handler")


@pytest.mark.parametrize("kind", BOTH)
async def test_a_consumer_that_fails_at_a_message_of_its_group_leaves_nothing(
    open_socket, set_up, redis_server, kind
):
    """It does not stand in `receive` as it ends, by which layers hear of that."""
    config = {"group_expiry": 1} if kind == "RedisChannelLayer" else {}
    layer = set_up(redis_server.layer(kind, **config))
    socket = await open_socket(Fails.as_asgi())
    await layer.group_send("all", {"type": "heard"})
    await asyncio.wait([socket.future], timeout=90)
    with pytest.raises(LookupError, match="of the handler"):
        socket.future.result()
    if config:
        (renewing,) = layer._renewing.values()
        await until(lambda: not layer._groups)
        await asyncio.wait([renewing])
    else:
        assert layer._get_layer().channels == {}
    await close_layer(layer)


async def test_memberships_are_renewed_though_the_loop_of_the_first_has_ended(
    set_up, redis_server
):
    layer = set_up(redis_server.layer(group_expiry=1))
    first, go = threading.Event(), threading.Event()

    async def begin():
        await layer.group_add("elsewhere", await layer.new_channel())
        first.set()
        while not go.is_set():
            await asyncio.sleep(0.01)

    elsewhere = threading.Thread(target=asyncio.run, args=(begin(),))
    elsewhere.start()
    await asyncio.to_thread(first.wait, 90)
    channel = await layer.new_channel()
    await layer.group_add("all", channel)
    go.set()
    await asyncio.to_thread(elsewhere.join)
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(1.5)  # longer than a membership holds that is not renewed
    await layer.group_send("all", {"type": "heard", "what": "it"})
    async with asyncio.timeout(90):
        assert (await waiting)["what"] == "it"
    await layer.close_pools()


async def test_nothing_is_kept_of_a_channel_without_groups(set_up, redis_server):
    layer = set_up(redis_server.layer())
    for _ in range(3):
        waiting = asyncio.create_task(layer.receive(await layer.new_channel()))
        await until(lambda: layer.receive_count)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert not layer._idle_since
    await layer.close_pools()


@pytest.mark.usefixtures("db_clean")
async def test_a_message_that_cannot_be_read_makes_no_room_deaf(visit, layer, caplog):
    ada = await visit("lobby")
    told = [{"rooms": ["lobby"], "event": event} for event in ({}, "{", "{}")]
    for message in ({"room": "lobby"}, {"rooms": ["lobby"]}, *told):
        await layer.group_send(wire.group_of("lobby"), {"type": "onloop.room", **message})
    await rooms.aannounce("lobby", "rain")
    assert (await ada.next_of("rain"))["room"] == "lobby"
    assert caplog.text.count("cannot be read, and is dropped") == 5


@pytest.mark.parametrize(
    "body", [2**70, json.loads("[" * 100 + "]" * 100)], ids=["big", "deep"]
)
@pytest.mark.usefixtures("db_clean")
async def test_what_json_can_say_is_announced_though_the_layer_s_own_form_cannot(
    visit, layer, body, caplog
):
    ada = await visit("lobby")  # no heartbeat comes
    await rooms.asend("lobby", body)
    assert (await ada.next_of("message"))["body"] == body
    much = body if isinstance(body, int) else body[0]
    await rooms.aannounce("lobby", "rain", how=much)
    assert (await ada.next_of("rain"))["how"] == much
    assert not [record for record in caplog.records if record.name == "onloop.rooms"]
    with pytest.raises(ValueError, match=r"JSON compliant|deep"):
        await rooms.aannounce("lobby", "rain", how=[body] if much != body else float("nan"))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.usefixtures("db_clean")
async def test_rooms_go_on_without_redis(visit, set_up, redis_server, kind, caplog):
    """Messages come with the heartbeat; what is not saved says that it could not be told."""
    set_up(redis_server.layer(kind), SHORT)
    ada, bob = await visit("lobby", who="ada"), await visit("lobby")
    assert await ada.post("before") == 1
    redis_server.stop()
    assert await ada.post("meanwhile") == 2
    assert await bob.numbers(2) == [1, 2]
    with pytest.raises(AnnounceFailed, match="Is the server of CHANNEL_LAYERS running"):
        await rooms.aannounce("lobby", "typing")
    await ada.say(type="typing", ref=9)
    assert (await ada.next_of("error"))["ref"] == 9
    assert "could not be announced" in caplog.text
    carl = await visit("lobby", who="carl")
    assert carl.seen() == [1, 2]
    redis_server.start()
    while True:  # not before all are in the group again
        await rooms.aannounce("lobby", "noise")
        try:
            async with asyncio.timeout(0.5):
                await bob.next_of("noise")
            break
        except TimeoutError:
            continue
    assert await carl.post("after") == 3
    assert await ada.numbers(3) == await bob.numbers(3) == [1, 2, 3]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.usefixtures("db_clean")
async def test_a_redis_that_forgets_everything_is_told_again(visit, set_up, redis_server, kind):
    set_up(redis_server.layer(kind), LONG)
    ada = await visit("lobby")
    redis_server.stop()
    redis_server.start()
    await rooms.asend("lobby", "while nobody may be in the group")
    while True:
        await rooms.asend("lobby", "more")
        try:
            async with asyncio.timeout(0.5):
                await ada.next_of("message")
            break
        except TimeoutError:
            continue
    last = await rooms.ahistory("lobby", limit=1)
    assert await ada.numbers(last[0].number) == list(range(1, last[0].number + 1))
