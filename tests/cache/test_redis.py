"""The API of `RedisCache`: Django's, and what is stored is what Django stores."""

from __future__ import annotations

import datetime
import inspect
import json

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from redis.exceptions import ResponseError

from onloop import bridge
from tests.cache.conftest import told

VALUES = [
    *(0, 7, -3, 2**70, True, None, 1.5, "", "text", "7", b"\x00\xff\r\n", "ü" * 9000),
    *([1, (2, 3)], {"a": {"b": {1}}}, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
]


@pytest.fixture
def djangos(cache):
    return caches["django"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_each_reads_what_the_other_has_written(cache, djangos, value):
    await cache.aset("ours", value)
    await djangos.aset("theirs", value)
    for reader in (cache, djangos):
        for key in ("ours", "theirs"):
            found = await reader.aget(key)
            assert (found, type(found)) == (value, type(value))
        assert await reader.aget_many(["ours", "none", "theirs"]) == {
            "ours": value,
            "theirs": value,
        }


async def test_integers_are_stored_as_text_and_the_rest_pickled(cache, redis_server):
    await cache.aset_many({"number": 12, "flag": True})
    await cache.aset("more", 5)
    assert told(redis_server.port, "GET", ":1:number") == b"$2\r\n12\r\n"
    assert told(redis_server.port, "GET", ":1:more") == b"$1\r\n5\r\n"
    assert b"\x80" in told(redis_server.port, "GET", ":1:flag")


async def every_method(cache):
    """What each `a` method answers, where a key is there and where none is."""
    seen = [
        await cache.aadd("a", 1),
        await cache.aadd("a", 2),
        await cache.aadd("gone", 1, timeout=0),
        await cache.aadd("a", 1, timeout=0),
        await cache.aget("a"),
        await cache.aget("gone", "default"),
        await cache.aset("b", "x", timeout=None),
        await cache.aset("c", "x"),
        await cache.aset("c", "y", timeout=-1),
        await cache.ahas_key("b"),
        await cache.ahas_key("c"),
        await cache.atouch("b", 100),
        await cache.atouch("b", None),
        await cache.atouch("c", 100),
        await cache.aincr("a"),
        await cache.aincr("a", 10),
        await cache.adecr("a", 2),
        await cache.aset_many({"d": 1, "e": [2]}),
        await cache.aset_many({"f": 1}, timeout=None),
        await cache.aset_many({"f": 1}, timeout=0),
        await cache.aset_many({}),
        await cache.aget_many(["d", "e", "f", "a"]),
        await cache.adelete("d"),
        await cache.adelete("d"),
        await cache.adelete_many(["e", "none"]),
        await cache.adelete_many([]),
        await cache.aget_or_set("g", lambda: "made"),
        await cache.aget_or_set("g", "other"),
        await cache.aget_or_set("none", None),
        await cache.ahas_key("none"),
        await cache.aget_or_set("short", "value", timeout=0),
        await cache.ahas_key("short"),
        await cache.aincr_version("g"),
        await cache.aget("g", version=2),
        await cache.adecr_version("g", version=2),
        await cache.aget("g"),
    ]
    for missing in (cache.aincr("nothing"), cache.aincr_version("nothing")):
        with pytest.raises(ValueError, match="nothing"):
            await missing
    await cache.aset("text", "text")
    with pytest.raises((ResponseError, TypeError)):  # Django 5.2 adds by itself, in `aincr`
        await cache.aincr("text")
    seen.append(bool(await cache.aclear()))
    seen.append(await cache.aget("a"))
    await cache.aclose()
    return seen


async def test_every_method_answers_as_django_s(cache, djangos):
    assert await every_method(cache) == await every_method(djangos)


async def test_so_do_the_synchronous_ones_in_a_bridge(cache, djangos, started_threads):
    ours = await bridge.run(lambda: bridge.await_(every_method(Sync(cache))))
    assert started_threads == []
    assert ours == await every_method(djangos)


class Sync:
    """A cache whose `a` methods call the synchronous ones, where they are."""

    def __init__(self, cache):
        self.cache = cache

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            return getattr(self.cache, name[1:])(*args, **kwargs)

        return call


async def test_a_method_for_each_of_django_s(cache):
    for name, method in inspect.getmembers(BaseCache, inspect.iscoroutinefunction):
        if name in ("adecr", "aincr_version", "adecr_version", "aclose"):
            continue  # made of the others
        assert getattr(type(cache), name) is not method, name


async def test_time_outs_are_those_of_the_settings(redis_server, configure):
    cache = configure(redis_server.url, TIMEOUT=1000)
    await cache.aset("a", 1)
    await cache.aset("b", 1, timeout=50)
    await cache.aset("c", 1, timeout=None)
    await cache.aset_many({"d": 1}, timeout=70)
    times = [int(told(redis_server.port, "TTL", f":1:{key}")[1:]) for key in "abcd"]
    assert 990 < times[0] <= 1000
    assert 40 < times[1] <= 50
    assert times[2] == -1
    assert 60 < times[3] <= 70


def shouting(key, prefix, version):
    return f"{prefix}!{version}!{key}"


async def test_keys_are_made_as_the_settings_say(redis_server, configure):
    cache = configure(
        redis_server.url,
        KEY_PREFIX="site",
        VERSION=3,
        KEY_FUNCTION="tests.cache.test_redis.shouting",
    )
    await cache.aset("a", 1)
    assert told(redis_server.port, "KEYS", "*") == b"*1\r\n$8\r\nsite!3!a\r\n"
    assert await cache.aget("a", version=4) is None


class JSONSerializer:
    def dumps(self, value):
        return json.dumps(value)

    def loads(self, data):
        return json.loads(data)


async def test_another_serializer(redis_server, configure):
    cache = configure(
        redis_server.url, OPTIONS={"serializer": "tests.cache.test_redis.JSONSerializer"}
    )
    await cache.aset("a", [1, "ü"])
    assert await cache.aget("a") == [1, "ü"]
    assert await caches["django"].aget("a") == [1, "ü"]
    assert await cache.aget_or_set("b", lambda: {"x": 1}) == {"x": 1}
    assert await cache.aget_or_set("c", lambda: {"x": 1}, timeout=0) == {"x": 1}


async def test_a_refused_command_is_its_own_error_only(cache):
    await cache.aset("text", "text")
    with pytest.raises(ResponseError):
        await cache.aincr("text")
    assert await cache.aget("text") == "text"


async def test_many_keys_are_stored_all_or_none(cache, redis_server):
    told(redis_server.port, "CONFIG", "SET", "maxmemory", "1mb")
    told(redis_server.port, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    with pytest.raises(ResponseError):
        await cache.aset_many({"small": 1, "large": "x" * 3_000_000})
        await cache.aset_many({"one": 1, "two": 2})
    assert await cache.aget_many(["one", "two"]) == {}
    told(redis_server.port, "CONFIG", "SET", "maxmemory", "0")
