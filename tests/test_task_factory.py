"""Tasks that run in a bridge of their own where `bridge_tasks` says so."""

from __future__ import annotations

import asyncio
import contextvars

import anyio
import pytest

from onloop import bridge, taskfactory
from onloop.errors import BridgeRequired
from onloop.taskfactory import BridgedCoroutine, TaskFactory
from tests.loops import EAGER, until


def lazy(value=42):
    """Synchronous code that waits, like a relation that is loaded when it is touched."""
    bridge.await_(asyncio.sleep(0))
    return value


async def touches(value=42):
    await asyncio.sleep(0)
    return lazy(value)


# --- what is bridged ------------------------------------------------------------------------


async def by_create_task():
    return await asyncio.create_task(touches())


async def by_ensure_future():
    return await asyncio.ensure_future(touches())


async def by_gather():
    return max(await asyncio.gather(touches(41), touches(42)))


async def by_task_group():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(touches())
    return task.result()


async def by_wait_for():
    return await asyncio.wait_for(touches(), 20)


async def by_shield():
    return await asyncio.shield(touches())


async def by_a_task_of_a_task():
    return await asyncio.create_task(by_create_task())


async def by_as_completed():
    return [await each for each in asyncio.as_completed([touches()])][0]


ways = pytest.mark.parametrize(
    "way",
    [
        by_create_task,
        by_ensure_future,
        by_gather,
        by_task_group,
        by_wait_for,
        by_shield,
        by_a_task_of_a_task,
        by_as_completed,
    ],
)


@ways
def test_synchronous_code_can_wait_in_a_bridged_task(bridged, way):
    assert bridged(way()) == 42


@pytest.mark.parametrize("way", [by_create_task, by_gather, by_wait_for, by_as_completed])
def test_synchronous_code_cannot_wait_in_a_task_that_is_not_bridged(runner, way):
    taskfactory.install_task_factory(runner.get_loop())
    with pytest.raises(BridgeRequired):
        runner.run(way())


def test_the_context_that_a_task_is_given_decides(bridged):
    plain = contextvars.Context()
    wanting = contextvars.copy_context()
    wanting.run(taskfactory.bridge_tasks.set, True)

    async def active():
        return bridge.active()

    async def main():
        loop = asyncio.get_running_loop()
        in_bridged = await loop.create_task(active(), context=plain)
        taskfactory.bridge_tasks.set(False)
        in_plain = await loop.create_task(active(), context=wanting)
        return in_bridged, in_plain

    assert bridged(main()) == (False, True)


def test_a_bridged_task_sees_the_context_variables_of_its_creation(bridged):
    from tests.test_bridge import colour

    async def child():
        seen = colour.get()
        colour.set("the child's")
        lazy()
        return seen, colour.get()

    async def main():
        colour.set("the parent's")
        return await asyncio.create_task(child()), colour.get()

    assert bridged(main()) == (("the parent's", "the child's"), "the parent's")


def test_a_bridged_task_may_iterate_an_async_generator(bridged):
    async def numbers():
        for number in range(3):
            yield lazy(number)

    async def child():
        return [lazy(number) async for number in numbers()]

    async def main():
        return await asyncio.create_task(child())

    assert bridged(main()) == [0, 1, 2]


def test_an_async_generator_that_is_left_open_is_closed_with_the_loop(bridged, runner):
    log = []

    async def numbers():
        try:
            while True:
                yield lazy()
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    kept = numbers()

    async def child():
        return await anext(kept)

    async def main():
        return await asyncio.create_task(child())

    bridged(main())
    runner.close()
    assert log == ["closed"]


def test_a_bridged_task_works_in_debug_mode(bridged, runner):
    runner.get_loop().set_debug(True)
    assert bridged(by_gather()) == 42


# --- composing ------------------------------------------------------------------------------


class TaskOfOurs(asyncio.Task):
    pass


def test_the_factory_makes_tasks_through_the_one_that_it_finds(bare_loop):
    async def main():
        taskfactory.bridge_tasks.set(True)
        task = asyncio.create_task(touches(), name="ours")
        return type(task), task.get_name(), await task

    bare_loop.set_task_factory(
        lambda loop, coro, **kwargs: TaskOfOurs(
            coro, loop=loop, name=kwargs.get("name"), context=kwargs.get("context")
        )
    )
    taskfactory.install_task_factory(bare_loop)
    assert bare_loop.run_until_complete(main()) == (TaskOfOurs, "ours", 42)


def test_a_factory_that_wraps_coroutines_in_its_own_is_served_as_well(bare_loop):
    async def wrapper(coro):
        return "wrapped", await coro

    async def main():
        taskfactory.bridge_tasks.set(True)
        return await asyncio.create_task(touches())

    bare_loop.set_task_factory(
        lambda loop, coro, **kwargs: asyncio.Task(wrapper(coro), loop=loop)
    )
    taskfactory.install_task_factory(bare_loop)
    assert bare_loop.run_until_complete(main()) == ("wrapped", ("wrapped", 42))


def test_installing_the_factory_twice_wraps_once(bare_loop):
    taskfactory.install_task_factory(bare_loop)
    factory = bare_loop.get_task_factory()
    taskfactory.install_task_factory(bare_loop)
    assert bare_loop.get_task_factory() is factory


def test_two_factories_bridge_a_task_once(bare_loop):
    async def main():
        taskfactory.bridge_tasks.set(True)
        task = asyncio.create_task(touches())
        return isinstance(task.get_coro()._coro, BridgedCoroutine), await task

    bare_loop.set_task_factory(TaskFactory(TaskFactory(None)))
    assert bare_loop.run_until_complete(main()) == (False, 42)


@pytest.mark.parametrize("runner", EAGER, indirect=True)
def test_an_eager_task_is_bridged_from_its_first_step(bridged):
    log = []

    async def child(door):
        log.append(bridge.active())
        bridge.await_(door)
        log.append(bridge.active())

    async def main():
        door = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(child(door))
        assert log == [True]
        door.set_result(None)
        await task

    bridged(main())
    assert log == [True, True]


@pytest.mark.parametrize("runner", EAGER, indirect=True)
def test_an_eager_task_that_begins_in_a_bridge_and_ends_at_once_gives_its_result(bridged):
    async def child():
        return bridge.active()

    def parent():
        task = asyncio.create_task(child())
        return task.done(), bridge.await_(task), bridge.active()

    assert bridged(bridge.run(parent)) == (True, True, True)


@pytest.mark.parametrize("runner", EAGER, indirect=True)
def test_eager_tasks_within_eager_tasks_keep_their_bridges_apart(bridged):
    async def child(depth):
        here = bridge.current()
        inner = asyncio.create_task(child(depth - 1)) if depth else None
        assert bridge.current() is here
        lazy()
        assert bridge.current() is here
        return depth + (await inner if inner else 0)

    async def main():
        tasks = [asyncio.create_task(child(depth)) for depth in range(5)]
        await until(lambda: all(task.done() for task in tasks))
        return [task.result() for task in tasks]

    assert bridged(main()) == [0, 1, 3, 6, 10]


@pytest.mark.skipif(not EAGER, reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("wanted", [True, False])
def test_task_groups_of_anyio_know_python_s_eager_factory_behind_ours(bare_loop, wanted):
    """They work around it: a child would run before it is known to be one."""
    told = []

    async def child():
        with anyio.CancelScope():
            await asyncio.sleep(0)
        task = asyncio.current_task()
        told.append((type(task), isinstance(task.get_coro(), BridgedCoroutine)))

    async def main():
        taskfactory.bridge_tasks.set(wanted)
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            assert told == []

    bare_loop.set_task_factory(asyncio.create_eager_task_factory(TaskOfOurs))
    taskfactory.install_task_factory(bare_loop)
    bare_loop.run_until_complete(asyncio.Task(main(), loop=bare_loop))
    assert told == [(TaskOfOurs, wanted)]
