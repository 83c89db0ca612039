"""Whose connection is it? Scopes of tasks, and who joins a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asgiref.sync
import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import (
    abackend_pid,
    afetch,
    amake_books,
    anames,
    assert_all_back,
    backend_pid,
    names,
)

pytestmark = pytest.mark.usefixtures("db_clean")


class Rollback(Exception):
    """Ends a block whose rows are to go."""


# --- outside of a block -----------------------------------------------------------------------


async def test_ten_queries_of_gathered_tasks_are_at_the_server_at_once(gate: Gate) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(afetch(gate.sql))
        pids = {backend.pid for backend in await gate.until_waiting(10)}
        gate.open()
    assert len(pids) == 10


async def test_ten_queries_of_tasks_in_a_scope_are_at_the_server_at_once(gate: Gate) -> None:
    async with onloop.scope(), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(afetch(gate.sql))
        await gate.until_waiting(10)
        gate.open()


async def test_each_task_has_wrappers_of_its_own() -> None:
    async def wrapper() -> Any:
        return connections["default"]

    found = await asyncio.gather(*(wrapper() for _ in range(5)), wrapper())
    assert len({id(one) for one in found}) == 6


async def test_one_task_keeps_its_wrapper_from_query_to_query() -> None:
    first = connections["default"]
    await anames()
    assert connections["default"] is first


async def test_a_task_that_was_made_before_the_block_does_not_join_it() -> None:
    entered = asyncio.Event()

    async def before() -> list[str]:
        await entered.wait()
        return await anames()

    task = asyncio.create_task(before())
    with pytest.raises(Rollback):
        async with transaction.atomic():
            await Author.objects.acreate(name="unseen")
            entered.set()
            assert await task == []
            raise Rollback


# --- inside of a block ------------------------------------------------------------------------


async def test_tasks_made_in_a_block_see_its_rows(run_task: Callable[..., Any]) -> None:
    async def work() -> list[list[str]]:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            seen = await asyncio.gather(*(anames() for _ in range(5)))
            transaction.set_rollback(True)
        return seen

    assert await run_task(work()) == [["Ann"]] * 5
    assert await anames() == []


@pytest.mark.only_on("postgresql")
async def test_tasks_made_in_a_block_use_its_connection(run_task: Callable[..., Any]) -> None:
    async def work() -> set[int]:
        async with transaction.atomic():
            pids = await asyncio.gather(*(abackend_pid() for _ in range(10)))
            return {*pids, await abackend_pid()}

    assert len(await run_task(work())) == 1


async def test_rows_of_joined_tasks_go_when_the_block_rolls_back() -> None:
    with pytest.raises(Rollback):
        async with transaction.atomic():
            async with asyncio.TaskGroup() as group:
                for n in range(10):
                    group.create_task(Author.objects.acreate(name=f"Ann {n}"))
            assert await Author.objects.acount() == 10
            raise Rollback
    assert await anames() == []


async def test_a_task_that_outlives_its_block_is_told_so() -> None:
    over = asyncio.Event()

    async def late() -> None:
        await over.wait()
        await anames()

    async with transaction.atomic():
        task = asyncio.create_task(late())
    over.set()
    with pytest.raises(TransactionManagementError, match=r"has ended.*onloop\.scope\(\)"):
        await task


async def test_a_task_that_outlives_its_block_works_in_a_scope_of_its_own() -> None:
    over = asyncio.Event()

    async def late() -> list[str]:
        await over.wait()
        async with onloop.scope():
            return await anames()

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        task = asyncio.create_task(late())
    over.set()
    assert await task == ["Ann"]


async def test_a_scope_inside_a_block_does_not_see_its_rows(
    run_task: Callable[..., Any],
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            async with onloop.scope():
                assert not connection.in_atomic_block
                assert await anames() == []
            assert connection.in_atomic_block
            assert await anames() == ["Ann"]

    await run_task(work())
    assert await anames() == ["Ann"]


async def test_a_tasks_block_is_not_its_parents() -> None:
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def child() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="of the child")
            inside.set()
            await leave.wait()

    task = asyncio.create_task(child())
    await inside.wait()
    assert not connection.in_atomic_block
    assert await anames() == []
    leave.set()
    await task
    assert await anames() == ["of the child"]


# --- ends -------------------------------------------------------------------------------------


async def test_every_connection_is_back_after_a_scope() -> None:
    async with onloop.scope():
        await amake_books(count=3)
        async with transaction.atomic():
            await asyncio.gather(*(anames() for _ in range(3)))
        await asyncio.gather(*(anames() for _ in range(3)))
    await assert_all_back()


async def test_no_connection_is_kept_between_the_queries_of_a_task() -> None:
    await anames()
    assert connection.connection is None
    await assert_all_back()


async def test_a_transaction_left_open_is_rolled_back_and_logged_at_the_end_of_its_scope(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with onloop.scope():
        await bridge.run(transaction.atomic().__enter__)
        await Author.objects.acreate(name="Ann")
    assert await anames() == []
    await assert_all_back()
    assert "left open at the end of its scope" in caplog.text


async def test_a_transaction_left_open_by_a_bare_task_is_rolled_back_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forgetful() -> None:
        await transaction.atomic().__aenter__()
        await Author.objects.acreate(name="Ann")

    await asyncio.create_task(forgetful())
    assert await anames() == []
    await assert_all_back()
    assert "left open" in caplog.text


@pytest.mark.only_on("postgresql")
async def test_no_back_end_is_left_idle_in_a_transaction(
    pg_activity: Callable[..., Any],
) -> None:
    async def work(n: int) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=f"Ann {n}")
            if n % 2:
                raise Rollback

    await asyncio.gather(*(work(n) for n in range(20)), return_exceptions=True)
    assert pg_activity(state="idle in transaction") == []
    assert len(await anames()) == 10


# --- what scopes inherit ----------------------------------------------------------------------


async def test_execute_wrappers_of_a_scope_hold_for_the_tasks_made_in_it() -> None:
    statements: list[str] = []

    def listen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    async with onloop.scope():
        with connection.execute_wrapper(listen):
            await asyncio.gather(*(anames() for _ in range(3)))
    assert len(statements) == 3


async def test_the_query_log_of_a_scope_counts_what_its_tasks_do() -> None:
    async with onloop.scope():
        connection.force_debug_cursor = True
        await asyncio.gather(*(anames() for _ in range(3)))
        assert len(connection.queries) == 3


# --- two databases ----------------------------------------------------------------------------


async def test_blocks_on_two_databases_nest_and_end_independently() -> None:
    with pytest.raises(Rollback):
        async with transaction.atomic(using="other"):
            await Author.objects.using("other").acreate(name="goes")
            async with transaction.atomic(using="default"):
                await Author.objects.acreate(name="stays")
            raise Rollback
    assert await anames() == ["stays"]
    assert await anames("other") == []


async def test_gathered_tasks_join_the_blocks_of_both_databases() -> None:
    async with transaction.atomic(), transaction.atomic(using="other"):
        await asyncio.gather(
            *(
                Author.objects.using(alias).acreate(name=f"{alias} {n}")
                for alias in ("default", "other")
                for n in range(3)
            )
        )
        transaction.set_rollback(True, using="other")
    assert await anames() == ["default 0", "default 1", "default 2"]
    assert await anames("other") == []
    await assert_all_back("default")
    await assert_all_back("other")


async def test_a_block_on_one_database_leaves_the_other_in_parallel(gate: Gate) -> None:
    async with transaction.atomic(using="other"), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(afetch(gate.sql))
        await gate.until_waiting(3)
        gate.open()


# --- context variables that travel ------------------------------------------------------------


async def test_a_scope_opened_under_async_to_sync_in_a_thread_does_no_harm_afterwards() -> None:
    async def inner() -> list[str]:
        async with onloop.scope(), transaction.atomic():
            return await anames()

    before = connections["default"]
    assert await asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(inner))() == []
    assert connections["default"] is before
    assert await anames() == []
    assert await asyncio.create_task(anames()) == []


async def test_a_block_that_a_thread_leaves_open_in_its_context_is_not_the_tasks() -> None:
    """asgiref copies what a thread's context holds back into the task's."""

    def open_and_close() -> list[str]:
        with transaction.atomic():
            Author.objects.create(name="Ann")
        connections["default"].close()
        return names()

    assert await asgiref.sync.sync_to_async(open_and_close)() == ["Ann"]
    assert not connection.in_atomic_block
    assert await anames() == ["Ann"]
    await asgiref.sync.sync_to_async(connections.close_all)()


@pytest.mark.only_on("postgresql")
async def test_receivers_that_asend_runs_in_parallel_do_not_share_a_transaction() -> None:
    from django.dispatch import Signal

    signal = Signal()
    both_inside = asyncio.Barrier(2)
    pids: list[int] = []

    async def stays(**kwargs: Any) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="stays")
            pids.append(await abackend_pid())
            await both_inside.wait()

    async def goes(**kwargs: Any) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="goes")
            pids.append(await abackend_pid())
            await both_inside.wait()
            transaction.set_rollback(True)

    signal.connect(stays)
    signal.connect(goes)
    await signal.asend(None)
    assert await anames() == ["stays"]
    assert len(set(pids)) == 2


async def test_plain_sync_code_in_one_bridge_is_one_scope() -> None:
    def work() -> bool:
        first = connections["default"]
        names()
        return connections["default"] is first

    assert await bridge.run(work)


@pytest.mark.only_on("postgresql")
async def test_an_eager_child_has_a_scope_of_its_own(gate: Gate) -> None:
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop hands asyncio's eager factory an argument that it does not know")
    loop.set_task_factory(asyncio.eager_task_factory)
    async with onloop.scope(), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(afetch(gate.sql))
        await gate.until_waiting(3)
        assert await bridge.run(backend_pid) not in {b.pid for b in gate.waiting()}
        gate.open()
