"""One of a kind for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from onloop import perloop
from onloop.errors import LoopRequired
from onloop.perloop import PerLoop
from tests.db.eventually import eventually


class Thing:
    def __init__(self, closed, name="thing"):
        self.closed, self.name, self.stale = closed, name, False

    async def aclose(self):
        await asyncio.sleep(0)
        self.closed.append(self.name)
        if self.name == "bad":
            raise ZeroDivisionError

    def __repr__(self):
        return f"the {self.name}"


@pytest.fixture
def closed():
    return []


@pytest.fixture
def family(closed):
    made = PerLoop(
        "the_thing()",
        lambda: Thing(closed),
        Thing.aclose,
        is_stale=lambda thing: thing.stale,
    )
    yield made
    perloop._families.remove(made)


async def test_there_is_one_until_it_is_closed(family, closed):
    thing = family.get()
    assert family.get() is thing
    await perloop.close_all()
    assert closed == ["thing"]
    await perloop.close_all()
    assert closed == ["thing"]
    assert family.get() is not thing
    await perloop.close_all()


async def test_one_that_is_stale_is_replaced_and_closed_with_the_others(family, closed):
    thing = family.get()
    thing.stale, thing.name = True, "stale"
    assert family.get() is not thing
    assert closed == []
    await perloop.close_all()
    assert closed == ["thing", "stale"]


async def test_one_that_cannot_be_closed_leaves_none_open(family, closed, caplog):
    family.get()
    bad = family.get()
    bad.stale, bad.name = True, "bad"
    family.get().stale = True
    family.get()
    await perloop.close_all()
    assert closed == ["thing", "thing", "bad"]
    assert "the bad could not be closed" in caplog.text


async def test_cancelled_twice_all_are_closed(family, closed):
    for _ in range(3):
        family.get().stale = True
    task = asyncio.create_task(perloop.close_all())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["thing"] * 3


def test_each_loop_has_its_own_and_closes_it(family, closed):
    async def main():
        return family.get()

    assert asyncio.run(main()) is not asyncio.run(main())
    assert closed == ["thing"] * 2


def test_it_works_on_every_loop(family, closed, runner):
    async def main():
        family.get()
        await perloop.close_all()

    runner.run(main())
    assert closed


def test_a_loop_that_was_closed_by_hand_is_forgotten(family, closed, bare_loop):
    async def main():
        return family.get()

    first = bare_loop.run_until_complete(main())
    bare_loop.close()
    assert bare_loop in perloop._open
    asyncio.run(main())  # whoever makes the next one looks
    assert bare_loop not in perloop._open
    assert first not in family._made.values()
    assert closed == ["thing"]
    gc.collect()


def test_where_no_loop_runs_the_error_names_the_cure(family):
    with pytest.raises(LoopRequired, match=r"the_thing\(\) belongs to an event loop, and none"):
        family.get()


async def test_the_end_of_a_loop_waits_for_its_end(family, closed):
    await asyncio.to_thread(lambda: asyncio.run(_use(family)))
    await eventually(lambda: closed == ["thing"])


async def _use(family):
    family.get()
