"""`transaction.atomic` in async code: blocks, savepoints, decorators, endings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import afetch, anames, assert_all_back, fetch, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


# --- committing and rolling back --------------------------------------------------------------


async def test_a_block_commits_at_its_end(run_task: Callable[..., Any]) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            assert await asyncio.create_task(in_other_scope()) == []

    async def in_other_scope() -> list[str]:
        async with onloop.scope():
            return await anames()

    await run_task(work())
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_an_exception_rolls_a_block_back(run_task: Callable[..., Any]) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            raise Rollback

    with pytest.raises(Rollback):
        await run_task(work())
    assert await anames() == []
    await assert_all_back()


async def test_an_error_of_the_database_rolls_a_block_back(
    run_task: Callable[..., Any],
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await Author.objects.acreate(name="Ann")

    with pytest.raises(IntegrityError):
        await run_task(work())
    assert await anames() == []


async def test_a_sync_block_in_a_bridge_commits_and_rolls_back() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="stays")
        with pytest.raises(Rollback), transaction.atomic():
            Author.objects.create(name="goes")
            raise Rollback

    await bridge.run(work)
    assert await anames() == ["stays"]


async def test_a_sync_block_may_stand_in_async_code_of_a_scope() -> None:
    async def work() -> None:
        with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            Author.objects.create(name="Bob")

    async with onloop.scope():
        await asyncio.create_task(work())
    assert await anames() == ["Ann", "Bob"]


async def test_a_decorated_function_commits_and_rolls_back(
    run_task: Callable[..., Any],
) -> None:
    @transaction.atomic
    async def work(name: str, fail: bool) -> str:
        await Author.objects.acreate(name=name)
        if fail:
            raise Rollback
        return name

    assert await run_task(work("Ann", fail=False)) == "Ann"
    with pytest.raises(Rollback):
        await run_task(work("Bob", fail=True))
    assert await anames() == ["Ann"]


async def test_a_decorator_with_arguments_opens_its_block_on_that_database() -> None:
    @transaction.atomic(using="other", durable=True)
    async def work() -> bool:
        return connections["other"].in_atomic_block and not connection.in_atomic_block

    assert await work()


async def test_concurrent_calls_of_a_decorated_function_have_a_block_each() -> None:
    @transaction.atomic
    async def work(n: int) -> None:
        await Author.objects.acreate(name=f"Ann {n}")
        if n % 2:
            raise Rollback

    results = await asyncio.gather(*(work(n) for n in range(10)), return_exceptions=True)
    assert [isinstance(result, Rollback) for result in results] == [False, True] * 5
    assert await anames() == [f"Ann {n}" for n in range(0, 10, 2)]


async def test_one_atomic_object_serves_many_tasks_at_once() -> None:
    block = transaction.atomic()

    async def work(n: int) -> None:
        async with block:
            await Author.objects.acreate(name=f"Ann {n}")
            await asyncio.sleep(0)
            if n % 2:
                raise Rollback

    await asyncio.gather(*(work(n) for n in range(10)), return_exceptions=True)
    assert await anames() == [f"Ann {n}" for n in range(0, 10, 2)]


# --- savepoints -------------------------------------------------------------------------------


async def test_an_inner_block_rolls_back_alone(run_task: Callable[..., Any]) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            with pytest.raises(Rollback):
                async with transaction.atomic():
                    await Author.objects.acreate(name="inner")
                    raise Rollback
            await Author.objects.acreate(name="after")

    await run_task(work())
    assert await anames() == ["after", "outer"]


async def test_an_inner_block_without_savepoint_takes_the_outer_one_with_it() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        with pytest.raises(Rollback):
            async with transaction.atomic(savepoint=False):
                raise Rollback
        with pytest.raises(TransactionManagementError, match="until the end of the"):
            await anames()
    assert await anames() == []


async def test_blocks_nest_three_deep_and_the_middle_one_goes_with_what_is_in_it() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="1")
        with pytest.raises(Rollback):
            async with transaction.atomic():
                await Author.objects.acreate(name="2")
                async with transaction.atomic():
                    await Author.objects.acreate(name="3")
                raise Rollback
        async with transaction.atomic():
            await Author.objects.acreate(name="4")
    assert await anames() == ["1", "4"]


async def test_savepoints_by_hand_work_in_a_bridge() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="stays")
            sid = connection.savepoint()
            Author.objects.create(name="goes")
            connection.savepoint_rollback(sid)

    await bridge.run(work)
    assert await anames() == ["stays"]


async def test_a_durable_block_refuses_to_be_an_inner_one() -> None:
    async with transaction.atomic():
        with pytest.raises(RuntimeError, match="durable"):
            async with transaction.atomic(durable=True):
                pass
    async with transaction.atomic(durable=True):
        await Author.objects.acreate(name="Ann")
    assert await anames() == ["Ann"]


async def test_set_rollback_rolls_back_without_an_error() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.set_rollback(True)
        assert transaction.get_rollback()
    assert await anames() == []


async def test_taking_set_rollback_back_lets_a_block_commit() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        transaction.set_rollback(True)
        transaction.set_rollback(False)
    assert await anames() == ["Ann"]


# --- without a block --------------------------------------------------------------------------


async def test_with_autocommit_off_a_task_keeps_one_transaction_until_it_commits() -> None:
    def work() -> tuple[list[str], list[str]]:
        transaction.set_autocommit(False)
        try:
            Author.objects.create(name="goes")
            transaction.rollback()
            Author.objects.create(name="stays")
            seen_outside = bridge.await_(asyncio.create_task(anames()))
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        return seen_outside, names()

    assert await bridge.run(work) == ([], ["stays"])
    await assert_all_back()


async def test_autocommit_that_a_task_leaves_off_is_not_the_next_ones(
    extra_alias: Callable[..., str], run_task: Callable[..., Any]
) -> None:
    """Its writes would be rolled back without a word."""
    alias = extra_alias("one", OPTIONS={"pool": {"max_size": 1}})

    async def leaves_it_off() -> None:
        await bridge.run(transaction.set_autocommit, False, alias)

    await run_task(leaves_it_off())
    async with onloop.scope():
        await Author.objects.using(alias).abulk_create([Author(name="Ann")])
    async with onloop.scope():  # over another connection
        assert await anames("default") == ["Ann"]
    await assert_all_back(alias)


async def test_what_a_scope_leaves_uncommitted_with_autocommit_off_is_rolled_back() -> None:
    def work() -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name="goes")

    async with onloop.scope():
        await bridge.run(work)
    assert await anames() == []
    await assert_all_back()


# --- PostgreSQL -------------------------------------------------------------------------------


@pytest.mark.only_on("postgresql")
async def test_skip_locked_passes_over_the_rows_of_another_transaction() -> None:
    await Author.objects.abulk_create(Author(name=name) for name in "abc")
    locked = asyncio.Event()
    release = asyncio.Event()

    async def holder() -> None:
        async with transaction.atomic():
            await Author.objects.select_for_update().aget(name="b")
            locked.set()
            await release.wait()

    task = asyncio.create_task(holder())
    await locked.wait()
    async with transaction.atomic():
        free = Author.objects.select_for_update(skip_locked=True).order_by("name")
        assert [author.name async for author in free] == ["a", "c"]
    release.set()
    await task


@pytest.mark.only_on("postgresql")
async def test_nowait_raises_where_another_transaction_has_the_row() -> None:
    await Author.objects.acreate(name="Ann")
    async with transaction.atomic():
        await Author.objects.select_for_update().aget(name="Ann")
        async with onloop.scope():
            with pytest.raises(OperationalError, match="could not obtain lock"):
                async with transaction.atomic():
                    await Author.objects.select_for_update(nowait=True).aget(name="Ann")


@pytest.mark.only_on("postgresql")
async def test_a_row_lock_makes_the_second_transaction_wait_for_the_first(
    pg_activity: Callable[..., Any],
) -> None:
    """Read, change, write back: with the lock no change is lost."""
    author = await Author.objects.acreate(name="0")

    async def count_up() -> None:
        async with transaction.atomic():
            row = await Author.objects.select_for_update().aget(pk=author.pk)
            await asyncio.sleep(0)
            row.name = str(int(row.name) + 1)
            await row.asave()

    await asyncio.gather(*(count_up() for _ in range(25)))
    assert await anames() == ["25"]


@pytest.mark.only_on("postgresql")
async def test_a_select_for_update_outside_of_a_block_is_refused() -> None:
    with pytest.raises(TransactionManagementError, match="outside of a transaction"):
        await Author.objects.select_for_update().afirst()


@pytest.mark.only_on("postgresql")
async def test_the_isolation_level_of_the_settings_holds_for_every_transaction(
    extra_alias: Callable[..., str],
) -> None:
    from psycopg import IsolationLevel

    alias = extra_alias("strict", OPTIONS={"isolation_level": IsolationLevel.SERIALIZABLE})
    for _ in range(2):  # a new connection, and one from the pool
        async with transaction.atomic(using=alias):
            assert await afetch("SHOW transaction_isolation", alias=alias) == "serializable"


@pytest.mark.only_on("postgresql")
async def test_a_serialization_failure_rolls_back_and_the_connection_works_on(
    extra_alias: Callable[..., str],
) -> None:
    from psycopg import IsolationLevel

    await Author.objects.acreate(name="0")
    alias = extra_alias("strict", OPTIONS={"isolation_level": IsolationLevel.REPEATABLE_READ})
    rows = Author.objects.using(alias)
    with pytest.raises(OperationalError, match="could not serialize"):
        async with transaction.atomic(using=alias):
            assert (await rows.aget()).name == "0"
            async with onloop.scope():
                await rows.aupdate(name="1")
            await rows.aupdate(name="2")
    assert (await rows.aget()).name == "1"
    await assert_all_back(alias)


@pytest.mark.only_on("postgresql")
async def test_tasks_in_one_block_take_turns_while_others_run(gate: Gate) -> None:
    """Five transactions at once at the server, though each one's own tasks take turns."""

    async def work() -> None:
        async with transaction.atomic():
            await asyncio.gather(*(afetch(gate.sql) for _ in range(3)))

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(work())
        await gate.until_waiting(5)
        gate.open()


# --- atomic and what stands around it ---------------------------------------------------------


async def test_atomic_requests_style_nesting_of_sync_and_async_blocks() -> None:
    def sync_part(name: str) -> None:
        with transaction.atomic():
            Author.objects.create(name=name)

    async with transaction.atomic():
        await bridge.run(sync_part, "Ann")
        async with transaction.atomic():
            await bridge.run(sync_part, "Bob")
        assert await bridge.run(names) == ["Ann", "Bob"]
        transaction.set_rollback(True)
    assert await anames() == []


async def test_a_block_in_an_async_exit_stack_commits() -> None:
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(transaction.atomic())
        await Author.objects.acreate(name="Ann")
    assert await anames() == ["Ann"]
    assert await bridge.run(fetch, "SELECT 1") == 1


async def test_an_async_generator_may_hold_a_block_open_over_its_yields() -> None:
    async def rows() -> Any:
        async with transaction.atomic():
            for name in ("Ann", "Bob"):
                yield await Author.objects.acreate(name=name)

    assert [author.name async for author in rows()] == ["Ann", "Bob"]
    assert await anames() == ["Ann", "Bob"]
