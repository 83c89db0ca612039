"""Transactions by hand, in bridges: savepoints, and autocommit off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import django
import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.transaction import TransactionManagementError

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import afetch, anames, assert_all_back, fetch, names

pytestmark = pytest.mark.usefixtures("db_clean")

# Django 6.1 has given it another name.
savepoint: Callable[..., Any] = getattr(
    transaction, "savepoint_create" if django.VERSION >= (6, 1) else "savepoint"
)


def create(name: str) -> Author:
    return Author.objects.create(name=name)


# --- savepoints -------------------------------------------------------------------------------


def test_savepoints_are_committed_and_rolled_back(runner: asyncio.Runner) -> None:
    def work() -> None:
        with transaction.atomic():
            create("outer")
            first = savepoint()
            create("goes")
            transaction.savepoint_rollback(first)
            second = savepoint()
            create("stays")
            transaction.savepoint_commit(second)

    async def main() -> list[str]:
        await bridge.run(work)
        return await anames()

    assert runner.run(main()) == ["outer", "stays"]


async def test_savepoints_are_used_from_async_code_through_bridges() -> None:
    run = bridge.run
    async with transaction.atomic():
        await Author.objects.acreate(name="outer")
        sid = await run(savepoint)
        await Author.objects.acreate(name="goes")
        await run(transaction.savepoint_rollback, sid)
        await run(transaction.savepoint_commit, sid)
        await run(transaction.clean_savepoints)
    assert await anames() == ["outer"]
    await assert_all_back()


async def test_a_savepoint_by_hand_saves_a_block_from_an_error() -> None:
    def work() -> None:
        with transaction.atomic():
            create("Ann")
            sid = savepoint()
            with pytest.raises(IntegrityError):
                create("Ann")
            transaction.set_rollback(False)
            transaction.savepoint_rollback(sid)
            create("Bob")

    await bridge.run(work)
    assert await anames() == ["Ann", "Bob"]


async def test_a_callback_goes_with_the_savepoint_that_it_was_registered_in() -> None:
    ran: list[str] = []

    def work() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append("outer"))
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                transaction.on_commit(lambda: ran.append("inner"))
                raise ZeroDivisionError

    await bridge.run(work)
    assert ran == ["outer"]


async def test_savepoints_of_gathered_tasks_have_names_of_their_own() -> None:
    statements: list[str] = []

    def listen(execute: Any, sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    async def child() -> None:
        async with transaction.atomic():
            await anames()

    async with transaction.atomic():
        with connection.execute_wrapper(listen):
            await asyncio.gather(*(child() for _ in range(5)))
    begun = [sql for sql in statements if sql.startswith("SAVEPOINT")]
    assert len(set(begun)) == 5


@pytest.mark.only_on("postgresql")
async def test_a_time_out_after_which_a_savepoint_is_rolled_back_by_hand_lets_a_block_commit(
    gate: Gate,
) -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        sid = await bridge.run(savepoint)
        query = asyncio.create_task(afetch(gate.sql))
        await gate.until_waiting(1)
        query.cancel()
        await asyncio.wait([query])
        transaction.set_rollback(False)
        await bridge.run(transaction.savepoint_rollback, sid)
    assert await anames() == ["Ann"]


@pytest.mark.only_on("postgresql")
async def test_a_time_out_that_was_made_good_is_not_what_a_later_rollback_is_about(
    gate: Gate,
) -> None:
    async with transaction.atomic():
        sid = await bridge.run(savepoint)
        query = asyncio.create_task(afetch(gate.sql))
        await gate.until_waiting(1)
        query.cancel()
        await asyncio.wait([query])
        transaction.set_rollback(False)
        await bridge.run(transaction.savepoint_rollback, sid)
        await Author.objects.acreate(name="Ann")
        transaction.set_rollback(True)  # no error: it was asked for
    assert await anames() == []


async def test_outside_of_a_block_savepoints_do_nothing() -> None:
    assert await bridge.run(savepoint) is None
    await bridge.run(transaction.savepoint_rollback, "none")
    await assert_all_back()


async def test_the_rollback_flag_outside_of_a_block_is_refused() -> None:
    with pytest.raises(TransactionManagementError, match="outside of an 'atomic' block"):
        transaction.get_rollback()
    with pytest.raises(TransactionManagementError, match="outside of an 'atomic' block"):
        transaction.set_rollback(True)


async def test_mark_for_rollback_on_error_marks_the_block_and_lets_the_error_out() -> None:
    def work() -> bool:
        with transaction.atomic():
            create("goes")
            with pytest.raises(LookupError), transaction.mark_for_rollback_on_error():
                raise LookupError
            return transaction.get_rollback()

    assert await bridge.run(work)
    assert await anames() == []


async def test_commit_and_rollback_by_hand_are_refused_in_a_block() -> None:
    def work() -> None:
        with transaction.atomic():
            for by_hand in (transaction.commit, transaction.rollback):
                with pytest.raises(TransactionManagementError, match="is forbidden"):
                    by_hand()
            with pytest.raises(TransactionManagementError, match="is forbidden"):
                transaction.set_autocommit(False)
            create("stays")

    await bridge.run(work)
    assert await anames() == ["stays"]


# --- autocommit off ---------------------------------------------------------------------------


@pytest.fixture(params=["transaction", "session"])
def alias(request: pytest.FixtureRequest, extra_alias: Callable[..., str]) -> str:
    """The database in each mode of its pool."""
    return extra_alias("by_hand", OPTIONS={"pool": {"mode": request.param, "max_size": 4}})


async def test_with_autocommit_off_commit_and_rollback_are_the_callers(alias: str) -> None:
    rows = Author.objects.using(alias)

    def work() -> list[str]:
        transaction.set_autocommit(False, using=alias)
        rows.create(name="goes")
        transaction.rollback(using=alias)
        rows.create(name="stays")
        transaction.commit(using=alias)
        rows.create(name="goes too")
        transaction.rollback(using=alias)
        transaction.set_autocommit(True, using=alias)
        return names(alias)

    async with onloop.scope():
        assert await bridge.run(work) == ["stays"]
        assert transaction.get_autocommit(using=alias)
    await assert_all_back(alias)


async def test_with_autocommit_off_async_code_is_in_the_transaction(alias: str) -> None:
    rows = Author.objects.using(alias)
    async with onloop.scope():
        await bridge.run(transaction.set_autocommit, False, alias)
        await rows.acreate(name="goes")
        assert await rows.acount() == 1
        await bridge.run(transaction.rollback, alias)
        assert await rows.acount() == 0
        await bridge.run(transaction.rollback, alias)
        await bridge.run(transaction.set_autocommit, True, alias)
    await assert_all_back(alias)


async def test_a_block_with_autocommit_off_is_a_savepoint_and_does_not_commit(
    alias: str,
) -> None:
    rows = Author.objects.using(alias)

    def work() -> None:
        transaction.set_autocommit(False, using=alias)
        rows.create(name="before")
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
            rows.create(name="inner")
            raise ZeroDivisionError
        with transaction.atomic(using=alias):
            rows.create(name="after")
        assert not connections[alias].in_atomic_block
        assert names(alias) == ["after", "before"]
        transaction.rollback(using=alias)
        transaction.set_autocommit(True, using=alias)

    async with onloop.scope():
        await bridge.run(work)
        assert await anames(alias) == []
    await assert_all_back(alias)


async def test_tasks_made_in_a_block_with_autocommit_off_join_it(alias: str) -> None:
    async with onloop.scope():
        await bridge.run(transaction.set_autocommit, False, alias)
        # In Django, a savepoint that is the first of a transaction on SQLite commits it.
        await Author.objects.using(alias).acreate(name="Ann")
        async with transaction.atomic(using=alias):
            assert await asyncio.create_task(anames(alias)) == ["Ann"]
        await bridge.run(transaction.rollback, alias)
        await bridge.run(transaction.set_autocommit, True, alias)
        assert await anames(alias) == []


async def test_another_task_does_not_notice_that_autocommit_is_off(alias: str) -> None:
    async def other() -> bool:
        return transaction.get_autocommit(using=alias)

    async with onloop.scope():
        await bridge.run(transaction.set_autocommit, False, alias)
        assert await asyncio.create_task(other())
        await bridge.run(transaction.set_autocommit, True, alias)


async def test_on_commit_with_autocommit_off_is_refused(alias: str) -> None:
    async with onloop.scope():
        await bridge.run(transaction.set_autocommit, False, alias)
        with pytest.raises(TransactionManagementError, match="manual transaction management"):
            transaction.on_commit(lambda: None, using=alias)
        await bridge.run(transaction.set_autocommit, True, alias)


async def test_a_task_that_ends_with_autocommit_off_leaves_nothing_behind(alias: str) -> None:
    async def forgetful() -> None:
        await bridge.run(transaction.set_autocommit, False, alias)
        await Author.objects.using(alias).acreate(name="goes")

    await asyncio.create_task(forgetful())
    async with onloop.scope():
        assert await anames(alias) == []
    await assert_all_back(alias)


@pytest.mark.only_on("postgresql")
async def test_a_commit_by_hand_after_a_swallowed_time_out_is_an_error_and_a_rollback(
    gate: Gate,
) -> None:
    """The server would answer COMMIT with ROLLBACK, and Django would not tell."""

    def work() -> None:
        transaction.set_autocommit(False)
        create("goes")
        try:
            fetch(gate.sql)
        except asyncio.CancelledError:
            task.uncancel()
        with pytest.raises(TransactionManagementError, match="rolled back and not committed"):
            transaction.commit()
        create("stays")
        transaction.commit()
        transaction.set_autocommit(True)

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    task.cancel()
    await task
    assert await anames() == ["stays"]
    await eventually(lambda: gate.waiting() == [])
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_a_rollback_by_hand_after_a_swallowed_time_out_makes_it_good(gate: Gate) -> None:
    def work() -> None:
        transaction.set_autocommit(False)
        try:
            fetch(gate.sql)
        except asyncio.CancelledError:
            task.uncancel()
        transaction.rollback()
        create("stays")
        transaction.commit()
        transaction.set_autocommit(True)

    task = asyncio.create_task(bridge.run(work))
    await gate.until_waiting(1)
    task.cancel()
    await task
    assert await anames() == ["stays"]


# --- the driver's connection, between two statements ------------------------------------------


async def test_code_that_asks_for_the_drivers_connection_finds_none_and_works() -> None:
    """In transaction mode nothing is borrowed between two statements."""

    def quoted() -> Any:
        assert connection.connection is None
        editor = connection.schema_editor()
        return [editor.quote_value(value) for value in ("it's", 7)]

    assert [str(value) for value in await bridge.run(quoted)] == ["'it''s'", "7"]
    await assert_all_back()
