"""Which connections there are: per loop, shared, bounded, closed with the loop."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation

import onloop
from onloop import bridge, perloop
from onloop.cache import clients, options
from onloop.cache.backend import RedisCache
from onloop.testing import LeakLedger
from tests.cache.conftest import all_answered, client, in_time, lanes, told
from tests.fresh import project, python
from tests.loops import LOOPS, steps


def connected(port):
    """How many clients Redis has, but for the one that asks."""
    lines = told(port, "CLIENT", "LIST").splitlines()[1:]
    return len([line for line in lines if b"id=" in line]) - 1


async def test_caches_of_all_requests_share_a_connection(cache, redis_server):
    assert [await cache.aget("a") for _ in range(3)] == [None] * 3
    for _ in range(3):
        other = RedisCache(redis_server.url, {"OPTIONS": {}, "TIMEOUT": 5})
        await other.aset("a", 1)
    assert connected(redis_server.port) == 1


async def test_what_is_asked_at_once_travels_on_few_connections(cache, redis_server):
    await cache.aset_many({str(n): n for n in range(300)})
    found = await asyncio.gather(*(cache.aget(str(n)) for n in range(300)))
    assert found == list(range(300))
    assert connected(redis_server.port) <= options.MAX_CONNECTIONS


@pytest.mark.parametrize("limit", [1, 3])
async def test_max_connections_is_the_limit(redis_server, configure, limit):
    cache = configure(redis_server.url, OPTIONS={"max_connections": limit})
    for _ in range(20):
        await asyncio.gather(*(cache.aset(str(n), n) for n in range(200)))
    assert len(lanes()) == limit
    assert connected(redis_server.port) == limit


async def test_large_values_in_both_directions_at_once(cache):
    values = {str(n): bytes([n]) * 700_000 for n in range(20)}
    await asyncio.gather(*(cache.aset(key, value) for key, value in values.items()))
    found = await asyncio.gather(*(cache.aget(key) for key in values))
    assert found == list(values.values())
    assert await cache.aget_many(list(values)) == values


async def test_the_first_server_is_written_the_others_are_read(redis_server, configure):
    url = redis_server.url
    told(redis_server.port, "SET", ":1:a", "1")
    cache = configure([url, f"{url}?client_name=two", f"{url}?client_name=three"])
    for _ in range(30):
        assert await cache.aget("a") == 1
        await cache.aset("b", 1)
    assert [len(each.open) for each in client()._lanes] == [1, 1, 1]
    listed = told(redis_server.port, "CLIENT", "LIST").splitlines()
    last = {
        line.partition(b" name=")[2].partition(b" ")[0]: line.partition(b" cmd=")[2].split()[0]
        for line in listed
        if b" name=" in line
    }
    assert (last[b"two"], last[b"three"]) == (b"get", b"get")


@pytest.mark.parametrize("name", LOOPS)
def test_each_loop_has_its_own_and_closes_them(cache, redis_server, name):
    async def work():
        await cache.aset("a", 1)
        return await asyncio.gather(*(cache.aget("a") for _ in range(50)))

    def run():
        with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
            assert runner.run(work()) == [1] * 50
            assert runner.run(work()) == [1] * 50
            assert connected(redis_server.port) >= 1

    run()
    with LeakLedger():  # uvloop's first loop leaves a pipe
        run()
        run()
    assert clients._of_loop._made == {}
    assert connected(redis_server.port) == 0


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_just_ends_is_forgotten(redis_server, name):
    # In a process that does not mind warnings: such a loop leaves its transports to the
    # collector, and uvloop never ends where a warning about that is an error.
    said = project(
        f"""
        import asyncio, uvloop, warnings
        warnings.simplefilter("ignore")
        from onloop.cache import RedisCache, clients
        cache = RedisCache({redis_server.url!r}, {{}})
        loop = {name}.new_event_loop()
        loop.run_until_complete(cache.aset("a", 1))
        loop.close()

        async def later():
            assert await cache.aget("a") == 1
            assert list(clients._of_loop._made) == [asyncio.get_running_loop()]

        asyncio.run(later())
        print(clients._of_loop._made)
        """
    )
    assert said == "{}"


async def test_closing_opens_again_when_somebody_asks(cache, redis_server):
    await cache.aset("a", 1)
    await perloop.close_all()
    assert await cache.aget("a") == 1
    assert connected(redis_server.port) == 1


async def test_the_lifespan_closes_them(cache, redis_server):
    from onloop.asgi import get_asgi_application

    messages = ["lifespan.startup", "lifespan.shutdown"]
    sent = []

    async def receive():
        message = messages.pop(0)
        if message == "lifespan.shutdown":
            await cache.aset("a", 1)
            assert connected(redis_server.port) == 1
        return {"type": message}

    async def send(message):
        sent.append(message["type"])

    await get_asgi_application()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert clients._of_loop._made == {}
    await steps()  # sockets are closed in the loop's next turn
    assert connected(redis_server.port) == 0


async def test_nothing_is_left_behind(cache, leak_ledger):
    await cache.aset("a", 1)
    await asyncio.gather(*(cache.aget("a") for _ in range(100)))
    await all_answered()


def test_in_a_plain_thread_it_is_django_s_client(cache, redis_server):
    seen = []
    cache.set("a", 1)

    def work():
        seen.append((caches["default"].get("a"), onloop.where()))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [(1, "sync")] * 3
    assert cache.get_or_set("b", lambda: 2) == 2
    assert cache.incr("b") == 3
    assert connected(redis_server.port) == 1  # and not one for each thread


async def test_a_thread_of_async_code_does_not_touch_the_loop_s(cache):
    await cache.aset("a", 1)
    asked = lanes()[0].load
    assert await asyncio.to_thread(lambda: caches["default"].get("a")) == 1
    assert lanes()[0].load == asked == 0


async def test_on_a_loop_outside_a_bridge_it_is_refused_with_the_cure(cache):
    for name, arguments in {"get": "a", "set": "ab", "get_or_set": "ab", "clear": ""}.items():
        with pytest.raises(SynchronousOnlyOperation, match=rf"await cache\.a{name}\(\)"):
            getattr(cache, name)(*arguments)


async def test_unless_django_s_guard_is_off(cache, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    cache.set("a", 1)
    assert cache.get("a") == 1


def test_a_fork_has_connections_of_its_own(cache, redis_server):
    async def parent():
        await cache.aset("a", 1)
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                asyncio._set_running_loop(None)
                asyncio.set_event_loop(None)
                found = asyncio.run(child())
                os.write(writing, found)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = await asyncio.to_thread(pipe.read)
        os.waitpid(pid, 0)
        assert said == b"1 1 None, loops: 1"
        assert await cache.aget("b") == 2
        assert len(lanes()) == 1

    async def child():
        first = await cache.aget("a")
        await cache.aset("b", 2)
        seen = f"{first} {len(lanes())} {await cache.aget('c')}"
        return f"{seen}, loops: {len(clients._of_loop._made)}".encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # forking with threads
        asyncio.run(parent())


@pytest.mark.parametrize(
    ("given", "told_of"),
    [
        ({"connection_class": object}, "redis.asyncio.connection"),
        ({"socket_timeout": 0}, "socket_timeout"),
        ({"socket_connect_timeout": -1}, "socket_connect_timeout"),
    ],
)
async def test_options_that_would_block_or_hang_are_refused(
    redis_server, configure, given, told_of
):
    cache = configure(redis_server.url, OPTIONS=given)
    with pytest.raises(ImproperlyConfigured, match=told_of):
        await cache.aget("a")


async def test_redis_py_s_own_classes_and_retries_are_understood(redis_server, configure):
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    cache = configure(
        redis_server.url,
        OPTIONS={
            "connection_class": redis.Connection,
            "pool_class": "redis.BlockingConnectionPool",
            "timeout": 3,
            "retry": Retry(NoBackoff(), 1),
            "retry_on_timeout": True,
            "health_check_interval": 30,
            "client_name": "mine",
            "socket_keepalive": True,
        },
    )
    assert await cache.aset("a", 1) is None
    assert await bridge.run(cache.get, "a") == 1
    assert b"name=mine" in told(redis_server.port, "CLIENT", "LIST")
    assert await asyncio.to_thread(cache.get, "a") == 1


def test_without_the_package_it_says_what_to_install():
    said = python(
        """
        import sys
        sys.modules["redis"] = None
        from onloop.cache import RedisCache
        from django.core.exceptions import ImproperlyConfigured
        try:
            RedisCache("redis://localhost", {})
        except ImproperlyConfigured as exc:
            print(exc)
        """
    )
    assert 'pip install "django-onloop[redis]"' in said


def test_importing_it_does_not_load_redis():
    assert python("import sys, onloop.cache.places; print('redis' in sys.modules)") == "False"


async def test_the_parser_in_python_and_that_in_c_give_the_same(cache, monkeypatch):
    """hiredis is used where it is installed; this is about the one that always is."""
    from redis._parsers import _AsyncRESP3Parser

    real = options.server

    def server(url, given):
        found = real(url, given)

        def make():
            connection = found.make()
            connection.set_parser(_AsyncRESP3Parser)
            return connection

        return options.Server(
            make, found.connect_s, found.answer_s, found.max_connections, found.place
        )

    monkeypatch.setattr(options, "server", server)
    await cache.aset_many({"a": b"\r\n", "b": 1, "c": "x" * 100_000})
    assert await in_time(cache.aget_many("abcd")) == {"a": b"\r\n", "b": 1, "c": "x" * 100_000}
    assert await cache.aget_or_set("e", lambda: 5) == 5
