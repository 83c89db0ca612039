"""Which cache runs on the loop and which in a thread, seen by the thread."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import override_settings

import onloop
from onloop import bridge
from onloop.cache.places import runs_on_loop
from tests.asgi.conftest import borrowed
from tests.cache import blocking
from tests.cache.conftest import BACKEND, DJANGOS

CORE = "django.core.cache.backends"
OURS = "tests.cache.blocking"
PLACES = {
    f"{CORE}.locmem.LocMemCache": "loop",
    f"{CORE}.dummy.DummyCache": "loop",
    f"{CORE}.db.DatabaseCache": "loop",
    BACKEND: "loop",
    f"{OURS}.Quick": "loop",
    f"{CORE}.filebased.FileBasedCache": "thread",
    DJANGOS: "thread",
    f"{OURS}.Blocking": "thread",
    f"{OURS}.Slow": "thread",
}


@pytest.fixture(params=PLACES)
def placed(request, db_clean, tmp_path, monkeypatch):
    """A cache of each kind: its name, and the threads in which its own code has run."""
    backend = request.param
    location = request.node.name  # of memory, for those that are in it
    if backend.endswith("RedisCache"):
        location = request.getfixturevalue("redis_server").url
    elif backend.endswith("FileBasedCache"):
        location = str(tmp_path)
    elif backend.endswith("DatabaseCache"):
        location = "caches_of_tests"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}}):
        if location == "caches_of_tests":
            call_command("createcachetable", verbosity=0)
        threads = []
        # What every method of every cache calls, wherever that runs.
        make_key = BaseCache.make_key

        def noting(self, key, version=None):
            threads.append(threading.current_thread())
            return make_key(self, key, version)

        monkeypatch.setattr(BaseCache, "make_key", noting)
        yield backend, threads
        if location == "caches_of_tests":
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE caches_of_tests")


def places_of(cache, threads):
    threads = getattr(cache, "threads", threads)
    main = threading.current_thread()
    return {"loop" if thread is main else "thread" for thread in threads}


async def test_synchronous_code_in_a_bridge(placed):
    backend, threads = placed

    def work():
        cache = caches["default"]
        cache.set("a", 1)
        cache.add("b", 2)
        found = cache.get("a"), cache.get("b"), "b" in cache, cache.get_many("ab")
        cache.get_or_set("c", lambda: 3)
        cache.set_many({"d": 4})
        cache.delete_many("ad")
        assert cache.get("d") is None
        return cache, found

    cache, found = await bridge.run(work)
    if not backend.endswith("DummyCache"):
        assert found == (1, 2, True, {"a": 1, "b": 2})
    assert places_of(cache, threads) == {PLACES[backend]}
    assert runs_on_loop(cache) is (PLACES[backend] == "loop")


@pytest.mark.parametrize("inside", [True, False], ids=["in a bridge", "in a bare task"])
async def test_a_methods(placed, inside):
    backend, threads = placed

    async def work():
        cache = caches["default"]
        await cache.aset("a", 1)
        found = await cache.aget("a"), await cache.aget_many("ab")
        await cache.aget_or_set("c", lambda: 3)
        await cache.adelete("a")
        return cache, found

    cache, found = await (bridge.run(bridge.await_, work()) if inside else work())
    if not backend.endswith("DummyCache"):
        assert found == (1, {"a": 1})
    assert places_of(cache, threads) == {PLACES[backend]}


async def test_a_sync_view_s_thread_stays_in_it(placed):
    _, threads = placed

    def work():
        cache = caches["default"]
        cache.set("a", 1)
        cache.get("a")
        connections.close_all()  # of a thread that is nobody's
        return set(getattr(cache, "threads", threads)), {threading.current_thread()}

    seen, thread = await asyncio.to_thread(work)
    assert seen == thread


async def test_the_database_cache_is_in_the_caller_s_transaction(db_clean, started_threads):
    table = {"BACKEND": f"{CORE}.db.DatabaseCache", "LOCATION": "caches_of_tests"}
    with override_settings(CACHES={"default": table}):
        await bridge.run(call_command, "createcachetable", verbosity=0)
        try:
            cache = caches["default"]
            async with onloop.scope():
                with pytest.raises(LookupError):
                    async with transaction.atomic():
                        await cache.aset("a", 1)
                        assert await cache.aget("a") == 1
                        raise LookupError
                assert await cache.aget("a") is None
            assert started_threads == []
            assert borrowed() == {}
        finally:
            await bridge.run(_drop)


def _drop():
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE caches_of_tests")


@pytest.fixture
def files(tmp_path):
    given = {"BACKEND": f"{CORE}.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    with override_settings(CACHES={"default": given}):
        yield


def test_a_cache_that_leaves_the_loop_is_still_what_it_was(files):
    cache = caches["default"]
    assert isinstance(cache, FileBasedCache)
    assert type(cache).__qualname__ == "FileBasedCache"
    assert type(cache).__module__ == FileBasedCache.__module__
    assert type(cache) is type(caches.create_connection("default"))
    assert type(cache).get_many is BaseCache.get_many  # not its own, and calls `get`


async def test_a_session_in_a_cache_that_blocks_leaves_the_loop_for_the_cache_only(
    files, monkeypatch
):
    seen = []
    read = FileBasedCache._is_expired
    monkeypatch.setattr(
        FileBasedCache,
        "_is_expired",
        lambda self, file: (seen.append(threading.current_thread()), read(self, file))[1],
    )

    def work():
        session = SessionStore()
        session["a"] = 1
        session.save()
        return SessionStore(session.session_key)["a"]

    assert await bridge.run(work) == 1
    assert seen
    assert threading.current_thread() not in seen


async def test_a_cancelled_task_goes_on_without_its_thread(db_clean):
    begun, go = threading.Event(), threading.Event()

    class Waits(blocking.Blocking):
        def get(self, key, default=None, version=None):
            begun.set()
            go.wait(90)
            return super().get(key, default, version)

    with override_settings(CACHES={"default": {"BACKEND": f"{OURS}.Blocking"}}):
        cache = caches["default"]
        from onloop.cache.places import _off_the_loop

        cache.__class__ = _off_the_loop(Waits)
        task = asyncio.create_task(bridge.run(cache.get, "a"))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go.set()
        await bridge.run(cache.set, "a", 2)  # in the same thread, after it
        assert await bridge.run(cache.get, "a") == 2
