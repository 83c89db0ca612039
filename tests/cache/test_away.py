"""Redis is away, silent, or cut off: clear errors within the time-outs, and it works again."""

from __future__ import annotations

import asyncio
import select
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from onloop import bridge
from onloop.testing import FaultProxy
from tests.cache.conftest import DEADLINE_S, all_answered, in_time, lanes, told
from tests.postgres import free_port

QUICK = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}


async def eventually_works(cache):
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await cache.aset("a", 1)
            except (RedisConnectionError, RedisTimeoutError):
                await asyncio.sleep(0.01)
            else:
                return await cache.aget("a")


async def test_nobody_listens(configure, leak_ledger):
    cache = configure(f"redis://127.0.0.1:{free_port()}")
    for _ in range(2):
        found = await in_time(
            asyncio.gather(*(cache.aget("a") for _ in range(20)), return_exceptions=True)
        )
        assert {type(error) for error in found} == {RedisConnectionError}
    with pytest.raises(RedisConnectionError, match=r"127\.0\.0\.1"):
        await bridge.run(cache.get, "a")


async def test_it_is_stopped_and_comes_back(cache, redis_server):
    await cache.aset("a", 1)
    (lane,) = lanes()
    for _ in range(2):
        redis_server.stop()
        with pytest.raises(RedisConnectionError):
            await in_time(cache.aget("a"))
        with pytest.raises(RedisConnectionError):
            await in_time(cache.aset("a", 1))
        redis_server.start()
        assert await cache.aget("a") is None  # the first that asks, without an error
        await cache.aset("a", 1)
    assert lane not in lanes()


async def test_who_waits_for_an_answer_learns_that_it_does_not_come(configure, proxy):
    cache = configure(f"redis://127.0.0.1:{proxy.port}")
    await cache.aset("a", 1)
    proxy.black_hole("down")
    asked = [asyncio.create_task(cache.aget("a")) for _ in range(30)]
    while lanes()[0].load < 30:
        await asyncio.sleep(0)
    proxy.cut()
    found = await in_time(asyncio.gather(*asked, return_exceptions=True))
    assert {type(error) for error in found} == {RedisConnectionError}
    proxy.forward()
    assert await eventually_works(cache) == 1


async def test_a_connection_that_was_cut_while_idle_is_replaced(configure, proxy):
    cache = configure(f"redis://127.0.0.1:{proxy.port}")
    await cache.aset("a", 1)
    for fault in (proxy.cut, proxy.reset):
        (lane,) = lanes()
        fault()
        while lane.is_usable():  # it has come through
            await asyncio.sleep(0)
        assert await cache.aget("a") == 1


async def test_silence_ends_in_a_time_out(configure, proxy):
    cache = configure(f"redis://127.0.0.1:{proxy.port}", OPTIONS=QUICK)
    await eventually_works(cache)
    proxy.black_hole("both")
    found = await in_time(
        asyncio.gather(*(cache.aget("a") for _ in range(30)), return_exceptions=True)
    )
    assert {type(error) for error in found} == {RedisTimeoutError}
    assert lanes() == [] or not lanes()[0].is_usable()
    with pytest.raises((RedisTimeoutError, RedisConnectionError)):  # to connect, too
        await in_time(cache.aget("a"))
    with pytest.raises((RedisTimeoutError, RedisConnectionError)):
        await in_time(bridge.run(cache.get, "a"))
    proxy.forward()
    assert await eventually_works(cache) == 1


async def test_the_default_time_outs_are_finite(cache, configure):
    from onloop.cache.options import server

    found = server("redis://127.0.0.1:1", {})
    assert (found.connect_s, found.answer_s) == (5, 5)
    found = server("redis://127.0.0.1:1?socket_timeout=2", {"socket_connect_timeout": None})
    assert (found.connect_s, found.answer_s) == (5, 2)
    kwargs = configure("redis://127.0.0.1:1")._cache._get_connection_pool(write=True)
    assert kwargs.connection_kwargs["socket_timeout"] == 5


async def test_a_loop_that_was_held_blames_nobody(configure, redis_server):
    """The answer is there in time; the loop looks late."""
    cache = configure(redis_server.url, OPTIONS=QUICK)
    await in_time(eventually_works(cache))
    (lane,) = lanes()
    asked = asyncio.create_task(cache.aget("a"))
    while lane.load == 0:
        await asyncio.sleep(0)
    # Code that holds the loop, until the answer is there and longer than a time-out.
    assert select.select([lane._writer.get_extra_info("socket")], [], [], DEADLINE_S)[0]
    time.sleep(QUICK["socket_timeout"] + 0.1)
    assert await in_time(asked) == 1
    assert lane in lanes()


async def test_an_answer_that_nobody_has_asked_for_costs_the_connection(cache, redis_server):
    """Were it kept, each later answer would go to the wrong one."""
    await cache.aset_many({"a": 1, "b": 2})
    (lane,) = lanes()
    lane._writer.write(b"*1\r\n$4\r\nPING\r\n")
    while not lane._reader._buffer:
        await asyncio.sleep(0)
    assert await cache.aget_many("ab") == {"a": 1, "b": 2}
    assert lane not in lanes()


async def test_a_password_that_is_wrong(redis_server, configure):
    told(redis_server.port, "CONFIG", "SET", "requirepass", "secret")
    try:
        for url in (redis_server.url, redis_server.url.replace("//", "//:wrong@")):
            with pytest.raises(RedisConnectionError):
                await in_time(configure(url).aget("a"))
        cache = configure(redis_server.url.replace("//", "//:secret@"))
        await cache.aset("a", 1)
        assert await cache.aget("a") == 1
    finally:
        await cache._ask(("CONFIG", "SET", "requirepass", ""), write=True)


async def test_a_network_that_is_slow_delays_and_nothing_else(configure, redis_server):
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        cache = configure(f"redis://127.0.0.1:{proxy.port}")
        proxy.delay(20)
        await cache.aset_many({str(n): n for n in range(30)})
        found = await in_time(asyncio.gather(*(cache.aget(str(n)) for n in range(30))))
        assert found == list(range(30))
        await all_answered()
