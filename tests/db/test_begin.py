"""BEGIN goes to the server together with the first statement of a block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    InternalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.models import F, Value
from django.db.models.functions import Concat, Repeat
from psycopg import IsolationLevel, NotSupportedError

import onloop
from onloop import bridge
from onloop.db.backends.postgresql.base import _watched
from tests.database import TestDatabases
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import abackend_pid, anames, assert_all_back, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

NEW = "INSERT INTO library_author (id, name) VALUES (%s, %s)"


async def test_the_first_statement_of_a_block_is_in_its_transaction() -> None:
    ann = await Author.objects.acreate(name="Ann")
    with pytest.raises(LookupError):
        async with transaction.atomic():
            assert await Author.objects.filter(pk=ann.pk).aupdate(name="Bea") == 1
            assert await anames() == ["Bea"]
            raise LookupError
    assert await anames() == ["Ann"]
    async with transaction.atomic():
        assert (await Author.objects.acreate(name="Cleo")).pk is not None
    assert await anames() == ["Ann", "Cleo"]
    await assert_all_back()


@pytest.mark.parametrize(
    ("statement", "params", "error"),
    [
        (NEW, [1, "again"], IntegrityError),
        ("UPDATE nothing that is SQL", [], ProgrammingError),
        ('SELECT "nothing" FROM library_author', [], ProgrammingError),
    ],
)
async def test_a_first_statement_that_fails_leaves_a_transaction_that_has_failed(
    statement: str, params: list[Any], error: type[DatabaseError]
) -> None:
    await Author.objects.acreate(id=1, name="Ann")

    def work() -> None:
        with transaction.atomic():
            with pytest.raises(error) as raised:
                fetch(statement, params)
            assert "BEGIN" not in str(raised.value)
            with pytest.raises(InternalError, match="aborted"):
                fetch(NEW, [2, "Bea"])
            transaction.set_rollback(True)

    await bridge.run(work)
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_a_statement_whose_begin_was_refused_is_not_executed() -> None:
    def work() -> None:
        with (
            pytest.raises(ProgrammingError, match="refused"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            # A BEGIN that psycopg writes is refused only by a standby.
            connection.connection._begin_statement = b"BEGIN refused"
            cursor.execute(NEW, [1, "Ann"])
        connection.close()

    async with onloop.scope():
        await bridge.run(work)
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "INSERT ;", "TABLE library_author"])
async def test_a_first_statement_that_may_be_several_is_sent_as_ever(text: str) -> None:
    def work() -> Any:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.nextset()

    if text == "INSERT ;":
        with pytest.raises(ProgrammingError):
            await bridge.run(work)
    else:
        assert await bridge.run(work) is (True if ";" in text else None)
    await assert_all_back()


async def test_a_first_statement_may_have_a_large_answer() -> None:
    await Author.objects.abulk_create(Author(name=f"{n:04}") for n in range(2000))
    async with transaction.atomic():
        rows = Author.objects.annotate(long=Repeat(F("name"), 500)).order_by("name")
        assert [len(author.long) async for author in rows] == [2000] * 2000
        assert await Author.objects.acount() == 2000
    await assert_all_back()


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_begin_has_the_isolation_level_of_the_connection(level: str) -> None:
    def work() -> Any:
        with connection.cursor():
            connection.connection.isolation_level = IsolationLevel[level.upper()]
            with transaction.atomic():
                Author.objects.create(name="Ann")
                return fetch("SHOW transaction_isolation")

    assert await bridge.run(work) == level.replace("_", " ")
    await assert_all_back()


@pytest.mark.parametrize("often", [1, 2])
async def test_a_first_statement_that_is_cancelled_leaves_nothing_behind(
    often: int, db_clean: TestDatabases, pg_activity: Callable[..., Any]
) -> None:
    await Author.objects.acreate(id=1, name="Ann")
    pid = await abackend_pid()

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.filter(id=1).aupdate(name=Concat("name", Value("!")))

    with db_clean.connect() as outsider, outsider.transaction():
        outsider.execute("SELECT FROM library_author WHERE id = 1 FOR UPDATE")
        task = asyncio.create_task(work())
        await eventually(
            lambda: [b for b in pg_activity("UPDATE") if b.wait_event_type == "Lock"]
        )
        for _ in range(often):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: not pg_activity("UPDATE", state="active"))
    assert await anames() == ["Ann"]
    if often == 1:
        assert await abackend_pid() == pid  # and it is of use
    await work()
    assert await anames() == ["Ann!"]
    await assert_all_back()


async def test_a_first_statement_may_have_its_values_beside_it() -> None:
    """As with `server_side_binding`."""

    def work() -> Any:
        with transaction.atomic(), connection.cursor():
            cursor = _watched(ServerBindingCursor)(connection.connection)
            cursor.execute(NEW + " RETURNING name", [1, "Ann"])
            return cursor.fetchone()

    assert await bridge.run(work) == ("Ann",)
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_a_first_statement_that_the_driver_refuses_leaves_the_block_usable() -> None:
    def work() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            with pytest.raises(NotSupportedError):
                cursor.cursor.execute(NEW, [1, "Ann"], binary=True)
            cursor.execute(NEW, [2, "Bea"])

    await bridge.run(work)
    assert await anames() == ["Bea"]
    await assert_all_back()


async def test_a_first_statement_may_be_gathered_with_others() -> None:
    async with transaction.atomic():
        created = await asyncio.gather(*(Author.objects.acreate(name=n) for n in "abc"))
        assert await anames() == ["a", "b", "c"]
    assert len({author.pk for author in created}) == 3
    await assert_all_back()


async def test_transactions_with_autocommit_off_begin_with_their_first_statement() -> None:
    def work() -> None:
        transaction.set_autocommit(False)
        try:
            Author.objects.create(name="Ann")
            transaction.rollback()
            Author.objects.create(name="Bea")
            transaction.commit()
            Author.objects.create(name="Cleo")
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)

    await bridge.run(work)
    assert await anames() == ["Bea"]
    await assert_all_back()
