"""The layer in memory: its channels and groups, over threads and loops."""

import asyncio
import threading

import pytest
from channels.exceptions import ChannelFull

from onloop.channels import layers
from onloop.channels.layers import InMemoryChannelLayer
from tests.channels.conftest import DEADLINE_S


@pytest.fixture
async def layer():
    layer = InMemoryChannelLayer(capacity=3)
    yield layer
    await layer.flush()
    await layer.close()


async def soon(awaitable):
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


async def waiting(layer, count=1):
    """Tasks that wait for the channel "c"."""
    tasks = [asyncio.create_task(layer.receive("c")) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


# --- channels ---------------------------------------------------------------------------------


async def test_messages_come_in_their_order_and_leave_nothing(layer):
    for number in range(3):
        await layer.send("c", {"type": "t", "number": number})
    got = [(await layer.receive("c"))["number"] for _ in range(3)]
    assert got == [0, 1, 2]
    assert layer.channels == {}


async def test_who_waits_is_woken(layer):
    (task,) = await waiting(layer)
    await layer.send("c", {"type": "t"})
    assert await soon(task) == {"type": "t"}
    assert layer.channels == {}


async def test_each_of_several_who_wait_gets_a_message(layer):
    tasks = await waiting(layer, 3)
    for number in range(3):
        await layer.send("c", {"number": number})
    assert [(await soon(task))["number"] for task in tasks] == [0, 1, 2]


async def test_a_full_channel_says_so_and_counts(layer):
    for _ in range(3):
        await layer.send("c", {"type": "t"})
    with pytest.raises(ChannelFull):
        await layer.send("c", {"type": "t"})
    assert layer.stats() == {"dropped": 1}


async def test_channels_have_capacities_by_their_names():
    layer = InMemoryChannelLayer(capacity=1, channel_capacity={"big.*": 2})
    await layer.send("big.one", {})
    await layer.send("big.one", {})
    await layer.send("small", {})
    with pytest.raises(ChannelFull):
        await layer.send("small", {})


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "a", None, (1, ["a"])], ids=repr)
async def test_what_is_received_is_a_copy(layer, value):
    message = {"type": "t", "value": value}
    await layer.send("c", message)
    got = await layer.receive("c")
    assert got == message
    assert got is not message
    if isinstance(value, list | dict):
        assert got["value"] is not value


async def test_a_message_that_is_no_dict_is_refused(layer):
    with pytest.raises(TypeError, match="is a dict"):
        await layer.send("c", "text")
    with pytest.raises(TypeError, match="is a dict"):
        await layer.group_send("g", "text")


async def test_names_are_checked(layer):
    for call in (layer.send("¬", {}), layer.receive("¬"), layer.group_add("¬", "c"),
                 layer.group_send("¬", {})):  # fmt: skip
        with pytest.raises(TypeError):
            await call


async def test_new_channels_have_names_of_their_own(layer):
    names = {await layer.new_channel() for _ in range(100)}
    assert len(names) == 100
    assert all(layer.require_valid_channel_name(name) for name in names)


# --- who leaves -------------------------------------------------------------------------------


async def test_who_is_cancelled_leaves_no_trace(layer):
    (task,) = await waiting(layer)
    task.cancel()
    await asyncio.wait([task])
    assert layer.channels == {}


async def test_a_message_for_one_who_is_cancelled_goes_to_the_next(layer):
    first, second = await waiting(layer, 2)
    await layer.send("c", {"type": "t"})
    first.cancel()  # it was woken, and has not run
    assert await soon(second) == {"type": "t"}
    assert layer.channels == {}


async def test_a_message_for_one_who_is_cancelled_stays_where_nobody_is_next(layer):
    (task,) = await waiting(layer)
    await layer.send("c", {"type": "t"})
    task.cancel()
    await asyncio.wait([task])
    assert await soon(layer.receive("c")) == {"type": "t"}


async def test_who_was_overtaken_waits_on(layer):
    (task,) = await waiting(layer)
    await layer.send("c", {"number": 1})
    assert await layer.receive("c") == {"number": 1}
    await layer.send("c", {"number": 2})
    assert await soon(task) == {"number": 2}


# --- threads and loops ------------------------------------------------------------------------


async def test_a_thread_without_a_loop_wakes_who_waits(layer):
    (task,) = await waiting(layer)

    def from_outside():
        with pytest.raises(StopIteration):  # it waits for nothing
            layer.send("c", {"type": "t"}).send(None)

    await asyncio.to_thread(from_outside)
    assert await soon(task) == {"type": "t"}


async def test_loops_of_many_threads_lose_nothing():
    layer = InMemoryChannelLayer(capacity=10_000)
    got = []

    async def receives():
        got.extend([(await soon(layer.receive("c")))["number"] for _ in range(200)])

    async def sends(start):
        for number in range(start, start + 100):
            await layer.send("c", {"number": number})
            if not number % 7:
                await asyncio.sleep(0)

    threads = [threading.Thread(target=asyncio.run, args=(receives(),)) for _ in range(2)]
    threads += [threading.Thread(target=asyncio.run, args=(sends(n * 100),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, DEADLINE_S)
    assert sorted(got) == list(range(400))
    assert layer.channels == {}


async def test_a_loop_that_was_closed_loses_no_message(layer):
    async def waits():
        await layer.receive("c")

    def leaves_it_pending():
        loop = asyncio.new_event_loop()
        task = loop.create_task(waits())
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        task._log_destroy_pending = False

    await asyncio.to_thread(leaves_it_pending)
    await layer.send("c", {"type": "t"})
    assert await soon(layer.receive("c")) == {"type": "t"}


# --- groups -----------------------------------------------------------------------------------


async def test_a_group_s_message_reaches_its_members(layer):
    for name in ("a", "b", "c"):
        await layer.group_add("g", name)
    await layer.group_discard("g", "b")
    await layer.group_discard("g", "never-there")
    await layer.group_send("g", {"type": "t"})
    assert set(layer.channels) == {"a", "c"}
    await layer.group_discard("g", "a")
    await layer.group_discard("g", "c")
    assert layer.groups == {}


async def test_a_member_that_is_full_does_not_stop_the_others(layer):
    await layer.group_add("g", "a")
    await layer.group_add("g", "b")
    for _ in range(3):
        await layer.send("a", {"type": "t"})
    await layer.group_send("g", {"type": "last"})
    assert await layer.receive("b") == {"type": "last"}
    assert layer.stats() == {"dropped": 1}


# --- what is over -----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The layer's clock, in seconds: `clock[0]`."""
    now = [1000.0]
    monkeypatch.setattr(layers.time, "monotonic", lambda: now[0])
    return now


async def test_a_message_that_waits_too_long_is_dropped_and_its_channel_leaves(clock):
    layer = InMemoryChannelLayer(expiry=60)
    await layer.group_add("g", "c")
    await layer.send("c", {"type": "old"})
    clock[0] += 61
    await layer.send("c", {"type": "new"})
    assert layer.groups == {}
    assert await layer.receive("c") == {"type": "new"}


async def test_channels_that_nobody_asks_for_are_forgotten(clock):
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("c", {"type": "old"})
    clock[0] += 61
    await layer.send("other", {"type": "new"})
    assert set(layer.channels) == {"other"}


async def test_members_leave_a_group_after_its_time(clock):
    layer = InMemoryChannelLayer(group_expiry=3600)
    await layer.group_add("g", "old")
    clock[0] += 3000
    await layer.group_add("g", "new")
    clock[0] += 700
    await layer.send("any", {})
    assert set(layer.groups["g"]) == {"new"}


async def test_flush_forgets_all_and_lets_who_waits_go_on(layer):
    await layer.send("other", {})
    await layer.group_add("g", "c")
    (task,) = await waiting(layer)
    await layer.flush()
    assert layer.groups == {}
    assert set(layer.channels) == {"c"}
    await layer.send("c", {"type": "t"})
    assert await soon(task) == {"type": "t"}
