"""Cancellation: what stops at the server, what is finished, and that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import abackend_pid, afetch, all_back, anames, assert_all_back, pool_stats

pytestmark = pytest.mark.usefixtures("db_clean")

SOAK_CANCELS = 1000


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- a statement ------------------------------------------------------------------------------


async def test_a_cancelled_query_stops_at_the_server(gate: Gate) -> None:
    task = asyncio.create_task(afetch(gate.sql))
    await gate.until_waiting(1)
    await cancel(task)
    assert gate.waiting() == []


async def test_the_connection_of_a_cancelled_query_is_used_again(gate: Gate) -> None:
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    await cancel(task)
    assert await abackend_pid() == backend.pid
    await assert_all_back()


async def test_a_query_that_is_timed_out_raises_timeout_error(gate: Gate) -> None:
    async def work() -> None:
        async with asyncio.timeout(None) as limit:
            waiting = asyncio.ensure_future(gate.until_waiting(1))
            waiting.add_done_callback(lambda _: limit.reschedule(0))
            await afetch(gate.sql)

    with pytest.raises(TimeoutError):
        await work()
    await assert_all_back()


async def test_a_query_that_is_cancelled_twice_loses_its_connection_but_not_its_slot(
    gate: Gate,
) -> None:
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    task.cancel()
    await asyncio.sleep(0)  # the first one has arrived, the server has not answered yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_all_back()
    assert await abackend_pid() != backend.pid


async def test_a_task_group_that_fails_stops_the_queries_of_the_others(gate: Gate) -> None:
    async def fail() -> None:
        await gate.until_waiting(5)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(afetch(gate.sql))
            group.create_task(fail())
    assert gate.waiting() == []
    await assert_all_back()


async def test_sync_code_in_a_bridge_sees_the_cancellation_at_its_query(gate: Gate) -> None:
    seen: list[str] = []

    def work() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(gate.sql)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    await cancel(task)
    assert seen == ["cancelled"]


# --- inside of a block ------------------------------------------------------------------------


async def test_a_block_whose_statement_is_cancelled_rolls_back(gate: Gate) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await afetch(gate.sql)

    task = asyncio.create_task(work())
    await gate.until_waiting(1)
    await cancel(task)
    assert await anames() == []
    await assert_all_back()


async def remove_all() -> None:
    await Author.objects.all().adelete()


@pytest.mark.parametrize("bridged", [False, True], ids=["bare task", "bridged task"])
async def test_a_block_that_is_cancelled_at_any_of_its_waits_commits_all_or_nothing(
    bridged: bool, cancel_sweep: Any
) -> None:
    finished = False

    async def prepare() -> None:
        nonlocal finished
        finished = False
        await remove_all()

    async def nested() -> None:
        nonlocal finished
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            async with transaction.atomic():
                await Author.objects.acreate(name="b")
            await asyncio.sleep(0)
            finished = True

    async def scenario() -> None:
        if not bridged:
            await nested()
            return
        async with onloop.scope():
            await bridge.run(bridge.await_, nested())

    async def check(_: Any) -> None:
        assert await anames() == (["a", "b"] if finished else [])
        await eventually(all_back)

    await cancel_sweep(scenario, prepare=prepare, check=check)


async def test_sync_blocks_in_a_bridge_that_are_cancelled_at_any_wait_lose_nothing(
    cancel_sweep: Any,
) -> None:
    finished: list[str] = []

    def work() -> None:
        finished.clear()
        for name in "ab":
            with transaction.atomic():
                Author.objects.create(name=name)
                finished.append(name)

    async def check(_: Any) -> None:
        assert await anames() == finished
        await eventually(all_back)

    await cancel_sweep(lambda: bridge.run(work), prepare=remove_all, check=check)


async def test_a_loop_over_rows_that_is_cancelled_at_any_wait_gives_everything_back(
    cancel_sweep: Any,
) -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))

    async def work() -> None:
        async for _ in Author.objects.all().aiterator(chunk_size=10):
            await asyncio.sleep(0)

    async def check(_: Any) -> None:
        await eventually(all_back)

    await cancel_sweep(work, check=check)


async def test_an_inner_block_that_is_cancelled_at_any_wait_leaves_the_outer_one_whole(
    cancel_sweep: Any,
) -> None:
    whole: set[str] = set()
    numbers = itertools.count()

    async def inner() -> None:
        name = str(next(numbers))
        async with transaction.atomic():
            await Author.objects.acreate(name=name)
            await Author.objects.filter(name=name).aupdate(name=f"{name}!")
        whole.add(f"{name}!")

    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        await cancel_sweep(inner, times=[1])
    found = await anames()
    assert "outer" in found
    assert whole <= set(found)
    assert all(name.endswith("!") for name in found if name != "outer")
    await assert_all_back()


async def test_a_block_that_is_cancelled_while_it_awaits_something_else_rolls_back(
    run_task: Callable[..., Any],
) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run_task(work()))
    await inside.wait()
    await cancel(task)
    assert await anames() == []
    await assert_all_back()


async def test_a_swallowed_time_out_in_a_block_is_an_error_and_a_rollback(gate: Gate) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            query = asyncio.create_task(afetch(gate.sql))
            await gate.until_waiting(1)
            query.cancel()
            await asyncio.wait([query])

    with pytest.raises(TransactionManagementError, match="was cancelled") as failed:
        await work()
    assert isinstance(failed.value.__cause__, asyncio.CancelledError)
    assert await anames() == []
    await assert_all_back()


async def test_statements_after_a_swallowed_time_out_are_refused(gate: Gate) -> None:
    async def work() -> None:
        async with transaction.atomic():
            query = asyncio.create_task(afetch(gate.sql))
            await gate.until_waiting(1)
            query.cancel()
            await asyncio.wait([query])
            with pytest.raises(TransactionManagementError, match="An error occurred"):
                await anames()

    with pytest.raises(TransactionManagementError, match="was cancelled"):
        await work()


async def test_a_time_out_around_an_inner_block_costs_that_block_only(gate: Gate) -> None:
    async def inner() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="inner")
            await afetch(gate.sql)

    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        task = asyncio.create_task(inner())
        await gate.until_waiting(1)
        await cancel(task)
        await Author.objects.acreate(name="after")
    assert await anames() == ["after", "outer"]


async def test_a_query_cancelled_twice_in_a_block_ends_it_without_a_commit(gate: Gate) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await afetch(gate.sql)

    task = asyncio.create_task(work())
    await gate.until_waiting(1)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anames() == []
    await assert_all_back()


# --- waiting for a connection -----------------------------------------------------------------


async def test_a_task_that_is_cancelled_while_it_waits_for_the_pool_leaves_the_queue(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("one", OPTIONS={"pool": {"max_size": 1}})

    async def waiting() -> bool:
        return (await pool_stats(alias))["requests_waiting"] == 1

    async with transaction.atomic(using=alias):
        await anames(alias)
        task = asyncio.create_task(in_own_scope(alias))
        await eventually(waiting)
        await cancel(task)
        assert not await waiting()
    assert await anames(alias) == []
    await assert_all_back(alias)


async def in_own_scope(alias: str) -> list[str]:
    async with onloop.scope():
        return await anames(alias)


@pytest.mark.parametrize("passes", range(8))
async def test_a_task_that_is_cancelled_while_it_opens_a_connection_loses_no_slot(
    extra_alias: Callable[..., str], passes: int
) -> None:
    alias = extra_alias("one", OPTIONS={"pool": {"max_size": 1}})
    task = asyncio.create_task(anames(alias))
    for _ in range(passes):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await anames(alias) == []
    await assert_all_back(alias)


# --- soak -------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_size", [1, 4])
async def test_a_thousand_random_cancellations_lose_neither_slot_nor_connection(
    extra_alias: Callable[..., str], max_size: int
) -> None:
    alias = extra_alias("soaked", OPTIONS={"pool": {"max_size": max_size}})
    chance = random.Random(max_size)
    rows = Author.objects.using(alias)
    counter = 0

    async def write() -> None:
        nonlocal counter
        counter += 1
        name = str(counter)
        async with transaction.atomic(using=alias):
            await rows.acreate(name=name)
            async with transaction.atomic(using=alias):
                await rows.filter(name=name).aupdate(name=f"{name}!")

    async def read() -> None:
        await asyncio.gather(rows.acount(), rows.afirst())

    cancelled = 0
    while cancelled < SOAK_CANCELS:
        tasks = [
            asyncio.create_task(chance.choice([write, read])())
            for _ in range(chance.randint(1, 3 * max_size + 2))
        ]
        victims = chance.sample(tasks, chance.randint(1, len(tasks)))
        for victim in victims:
            for _ in range(chance.choice([0, 0, 1, 2, 5, 10])):
                await asyncio.sleep(0)
            victim.cancel()
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                victim.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        others = [r for r in results if isinstance(r, BaseException)]
        assert all(isinstance(r, asyncio.CancelledError) for r in others), others
        cancelled += len(victims)
    # `gather` does not wait for the second of its tasks when the first is cancelled: that one
    # may still be stopping its query at the server.
    await eventually(lambda: all_back(alias))
    unfinished = rows.exclude(name__endswith="!")
    assert [author.name async for author in unfinished] == []
    assert (await pool_stats(alias))["pool_size"] <= max_size
    async with transaction.atomic(using=alias):
        await rows.acreate(name="usable")


@pytest.mark.only_on("postgresql")  # SQLite does not wait
async def test_a_time_out_during_savepoint_costs_only_the_inner_block() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0), transaction.atomic():
                await Author.objects.acreate(name="inner")
        assert await anames() == ["outer"]
    assert await anames() == ["outer"]
