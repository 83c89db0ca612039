"""One task computes, and the others of its loop wait for it."""

from __future__ import annotations

import asyncio

import pytest

from onloop import bridge
from onloop.cache.flights import Flights
from tests.cache.conftest import client, in_time
from tests.loops import steps, until
from tests.project.library.models import Author


class Maker:
    """Computes when it is told to, and counts how often it was asked."""

    def __init__(self, *outcomes):
        self.calls = 0
        self.go = asyncio.Event()
        self.outcomes = list(outcomes)

    async def __call__(self):
        self.calls += 1
        outcome = self.outcomes.pop(0)
        await self.go.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def waiting(cache, maker, count, key="a"):
    tasks = [asyncio.create_task(cache.aget_or_set(key, maker)) for _ in range(count)]
    await in_time(until(lambda: maker.calls == 1))
    await steps()
    return tasks


async def test_one_computes_and_each_gets_a_value_of_its_own(cache):
    maker = Maker(["value"])
    tasks = await waiting(cache, maker, 20)
    maker.go.set()
    found = await in_time(asyncio.gather(*tasks))
    assert found == [["value"]] * 20
    assert len({id(each) for each in found}) == 20
    assert maker.calls == 1
    assert await cache.aget("a") == ["value"]
    assert await cache.aget_or_set("a", maker) == ["value"]
    assert maker.calls == 1


async def test_who_computes_is_cancelled_and_another_begins_anew(cache):
    maker = Maker("lost", "found")
    first, *others = await waiting(cache, maker, 5)
    first.cancel()
    await in_time(until(lambda: maker.calls == 2))
    maker.go.set()
    assert await in_time(asyncio.gather(*others)) == ["found"] * 4
    assert first.cancelled()
    assert maker.calls == 2


async def test_all_but_one_are_cancelled_one_after_the_other(cache):
    maker = Maker(*"abcdef")
    tasks = await waiting(cache, maker, 6)
    for number in range(5):
        tasks[number].cancel()
        await in_time(asyncio.wait([tasks[number]]))
    maker.go.set()
    assert await in_time(tasks[5]) == await cache.aget("a")
    assert len(client().flights) == 0


async def test_a_waiter_that_is_cancelled_disturbs_nobody(cache):
    maker = Maker("value")
    first, second, third = await waiting(cache, maker, 3)
    second.cancel()
    await in_time(asyncio.wait([second]))
    maker.go.set()
    assert await in_time(asyncio.gather(first, third)) == ["value", "value"]
    assert second.cancelled()


async def test_an_error_is_everybody_s_and_not_kept(cache):
    maker = Maker(LookupError("upstream"), "value")
    tasks = await waiting(cache, maker, 5)
    maker.go.set()
    found = await in_time(asyncio.gather(*tasks, return_exceptions=True))
    assert [type(error) for error in found] == [LookupError] * 5
    assert maker.calls == 1
    assert await cache.aget_or_set("a", maker) == "value"


async def test_none_is_a_value(cache):
    maker = Maker(None)
    tasks = await waiting(cache, maker, 3)
    maker.go.set()
    assert await in_time(asyncio.gather(*tasks)) == [None] * 3
    assert await cache.ahas_key("a")
    assert await cache.aget("a", "default") is None


async def test_keys_and_versions_do_not_wait_for_one_another(cache):
    one, other = Maker(1), Maker(2)
    (first,) = await waiting(cache, one, 1)
    second = asyncio.create_task(cache.aget_or_set("a", other, version=2))
    other.go.set()
    assert await in_time(second) == 2
    one.go.set()
    assert await in_time(first) == 1


async def test_somebody_else_was_quicker(cache):
    """Another process has stored a value meanwhile: as with Django, that one counts."""
    maker = Maker("ours")
    tasks = await waiting(cache, maker, 3)
    await cache.aset("a", "theirs")
    maker.go.set()
    assert await in_time(asyncio.gather(*tasks)) == ["theirs"] * 3


async def test_who_asks_again_for_what_it_is_computing_does_not_wait_for_itself(cache):
    async def outer():
        return ["outer", await cache.aget_or_set("a", lambda: "inner")]

    assert await in_time(cache.aget_or_set("a", outer)) == "inner"  # stored first


async def test_in_a_bridge_synchronous_code_shares_too(cache):
    maker = Maker("value")

    def compute():
        return bridge.await_(maker())

    tasks = [asyncio.create_task(bridge.run(cache.get_or_set, "a", compute)) for _ in range(5)]
    await in_time(until(lambda: maker.calls == 1))
    tasks += await waiting(cache, maker, 2)
    maker.go.set()
    assert await in_time(asyncio.gather(*tasks)) == ["value"] * 7
    assert maker.calls == 1


@pytest.mark.parametrize("implicit", ["allow", "raise"])
async def test_what_computes_may_use_the_database(cache, db_clean, settings_onloop, implicit):
    settings_onloop(IMPLICIT_IO=implicit)

    def count():
        return Author.objects.count()

    assert await cache.aget_or_set("loop", count) == 0
    assert await bridge.run(bridge.await_, cache.aget_or_set("bridge", count)) == 0
    assert await bridge.run(cache.get_or_set, "sync", count) == 0
    assert await cache.aget_or_set("awaited", Author.objects.acount) == 0


@pytest.fixture
def settings_onloop():
    from django.test import override_settings

    overrides = []

    def enter(**given):
        override = override_settings(ONLOOP=given)
        override.enable()
        overrides.append(override)

    yield enter
    for override in overrides:
        override.disable()


async def test_who_computes_keeps_its_soft_time_limit_to_itself():
    """That of a Celery task is a cancellation, and an `Exception` as well."""

    class SoftLimit(Exception, asyncio.CancelledError):
        pass

    flights = Flights()
    maker = Maker(SoftLimit())
    leading = asyncio.create_task(flights.share("a", maker))
    await in_time(until(lambda: maker.calls == 1))
    following = asyncio.create_task(flights.share("a", answer))
    await steps()
    maker.go.set()
    assert await in_time(following) == "answer"
    assert leading.cancelled() or isinstance(leading.exception(), SoftLimit)


async def test_a_closed_coroutine_hands_over():
    flights = Flights()
    never = asyncio.Event()
    leading = flights.share("a", never.wait)
    leading.send(None)
    following = asyncio.create_task(flights.share("a", answer))
    await steps()
    assert not following.done()
    leading.close()
    assert await in_time(following) == "answer"
    assert len(flights) == 0


async def answer():
    return "answer"
