"""SQLite: what Django and sqlite3 offer, on the loop."""

from __future__ import annotations

import asyncio
import copy
import datetime
import decimal
import functools
import inspect
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import (
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)

import onloop
from onloop import bridge
from tests.project.library.models import Author, Book

from .helpers import PUBLISHED, afetch, amake_books, anames, assert_all_back, pool_stats
from .sqlite import ALL_TIME_MS, NO_TIME_MS, inline_ms

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

ORPHAN = (
    "INSERT INTO library_book (author_id, title, published, price) "
    "VALUES (4711, 'orphan', '1999-12-31', 1)"
)


def everywhere(test: Callable[..., Any]) -> Any:
    """Run a test three times: inline, with each query in a worker, and inside a block."""

    async def run(*args: Any, place: str, **kwargs: Any) -> None:
        async with inline_ms(0 if place == "worker" else ALL_TIME_MS):
            if place == "block":
                async with transaction.atomic():
                    await test(*args, **kwargs)
            else:
                await test(*args, **kwargs)
        await assert_all_back()

    functools.update_wrapper(run, test)
    signature = inspect.signature(test)
    place = inspect.Parameter("place", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), place])
    return pytest.mark.parametrize("place", ["inline", "worker", "block"])(run)


@everywhere
async def test_values_come_back_as_what_they_are() -> None:
    book = (await amake_books(count=1))[0]
    read = await Book.objects.select_related("author").aget(pk=book.pk)
    assert read.published == PUBLISHED
    assert isinstance(read.published, datetime.date)
    assert isinstance(read.price, decimal.Decimal)
    assert read.author.name == "Ann"


@everywhere
async def test_bulk_create_sets_the_keys() -> None:
    made = await Author.objects.abulk_create(Author(name=str(n)) for n in range(300))
    assert len({author.pk for author in made}) == 300
    assert await Author.objects.acount() == 300


@everywhere
async def test_bulk_create_may_ignore_and_update() -> None:
    await Author.objects.acreate(name="Ann")
    await Author.objects.abulk_create(
        [Author(name="Ann"), Author(name="Bob")], ignore_conflicts=True
    )
    assert await anames() == ["Ann", "Bob"]


@everywhere
async def test_a_query_can_be_explained() -> None:
    assert "library_author" in await Author.objects.filter(name="Ann").aexplain()


@everywhere
async def test_select_for_update_is_ignored() -> None:
    await Author.objects.acreate(name="Ann")
    async with transaction.atomic():
        assert (await Author.objects.select_for_update().aget(name="Ann")).name == "Ann"


@everywhere
async def test_updates_and_deletes_count_rows() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(5))
    assert await Author.objects.filter(name="2").aupdate(name="x") == 1
    assert await Author.objects.filter(name="none").aupdate(name="y") == 0
    assert (await Author.objects.filter(name__lt="5").adelete())[0] == 4


@everywhere
async def test_a_cursor_by_hand_gives_its_rows_in_any_portions() -> None:
    await Author.objects.abulk_create(Author(name=f"{n:02}") for n in range(20))

    def work() -> list[Any]:
        seen: list[Any] = []
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM library_author ORDER BY name")
            assert [column[0] for column in cursor.description] == ["name"]
            seen.append(cursor.fetchone())
            seen += cursor.fetchmany(3)
            seen += cursor.fetchmany()  # as many as `arraysize` says: one
            seen += list(cursor)  # to its end: Django's wrapper closes what is broken off
            assert cursor.fetchone() is None
            assert cursor.fetchmany(5) == []
            assert cursor.fetchall() == []
            assert list(cursor) == []
        return seen

    assert await bridge.run(work) == [(f"{n:02}",) for n in range(20)]


@everywhere
async def test_a_cursor_can_be_used_again() -> None:
    await Author.objects.abulk_create([Author(name="Ann"), Author(name="Bob")])

    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM library_author ORDER BY name")
            assert cursor.fetchone() == ("Ann",)
            cursor.execute("UPDATE library_author SET name = name || '!'")
            assert cursor.rowcount == 2
            assert cursor.fetchall() == []
            cursor.execute("SELECT count(*) FROM library_author WHERE name = %s", ["Ann!"])
            assert cursor.fetchone() == (1,)

    await bridge.run(work)


@everywhere
async def test_parameters_may_have_names() -> None:
    def work() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %(a)s + %(b)s, '100%%'", {"a": 40, "b": 2})
            return cursor.fetchone()

    assert await bridge.run(work) == (42, "100%")


@everywhere
async def test_a_cursor_that_is_closed_has_no_rows_any_more() -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("VALUES (1), (2)")
            cursor.fetchone()
        with pytest.raises(ProgrammingError, match="closed cursor"):
            cursor.fetchone()

    await bridge.run(work)


@pytest.mark.parametrize(
    ("sql", "error", "text"),
    [
        ("SELECT * FROM nowhere", OperationalError, "no such table: nowhere"),
        ("SELECT colour FROM library_author", OperationalError, "no such column: colour"),
        ("SELEC 1", OperationalError, 'near "SELEC": syntax error'),
        (
            "INSERT INTO library_author (name) VALUES ('Ann')",
            IntegrityError,
            "UNIQUE constraint failed: library_author.name",
        ),
    ],
)
@everywhere
async def test_errors_say_what_sqlite_says(sql: str, error: Any, text: str) -> None:
    await Author.objects.acreate(name="Ann")
    with pytest.raises(error) as raised:
        async with transaction.atomic():
            await afetch(sql)
    assert str(raised.value) == text


async def test_two_statements_in_one_text_are_refused() -> None:
    """So that a SELECT is a SELECT to its end."""
    await Author.objects.acreate(name="Ann")
    with pytest.raises(Exception, match="one statement at a time"):
        await afetch("SELECT 1; DELETE FROM library_author")
    assert await anames() == ["Ann"]


# --- the raw connection -----------------------------------------------------------------------


async def test_the_raw_connection_of_a_block_can_be_used() -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        assert connection.connection.total_changes > 0
        rows = connection.connection.execute("SELECT name FROM library_author").fetchall()
        assert rows == [("Ann",)]
        assert any("'Ann'" in line for line in connection.connection.iterdump())


async def test_a_database_can_be_backed_up_through_the_raw_connection(tmp_path: Path) -> None:
    await Author.objects.acreate(name="Ann")

    def back_up() -> list[Any]:
        connection.ensure_connection()
        with closing(sqlite3.connect(tmp_path / "backup.sqlite3")) as target:
            connection.connection.backup(target)
            return target.execute("SELECT name FROM library_author").fetchall()

    async with onloop.scope():
        assert await bridge.run(back_up) == [("Ann",)]
    await assert_all_back()


class OwnConnection(sqlite3.Connection):
    """A connection class of the user's own, which knows nothing of loops."""


@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_connection_class_of_the_users_own_works_inline(
    extra_alias: Callable[..., str], tmp_path: Path, in_memory: bool
) -> None:
    from onloop.db.backends.sqlite3 import base

    name = ":memory:" if in_memory else tmp_path / "own.sqlite3"
    alias = extra_alias("own", NAME=name, OPTIONS={"factory": OwnConnection})
    try:
        await afetch("CREATE TABLE library_author (id integer primary key, name)", alias=alias)
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic(using=alias):
                await Author.objects.using(alias).acreate(name="Ann")
                raise ZeroDivisionError
        async with onloop.scope():
            await transaction.atomic(using=alias).__aenter__()
            await Author.objects.using(alias).acreate(name="left open")
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Bob")
        rows = Author.objects.using(alias).aiterator()
        assert [author.name async for author in rows] == ["Bob"]
        if not in_memory:
            await assert_all_back(alias)
    finally:
        shared = base._in_memory.pop((alias, ":memory:"), None)
        if shared is not None:
            shared.close()
            base._turns.pop((alias, ":memory:"))


# --- foreign keys, and the schema -------------------------------------------------------------


async def test_constraints_stay_off_between_the_statements_that_ask_for_it() -> None:
    async def others() -> None:
        async with onloop.scope():
            with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
                await afetch(ORPHAN)

    async def work() -> None:
        with connection.constraint_checks_disabled():
            await asyncio.create_task(others())
            await afetch(ORPHAN)
            assert connection.connection is not None
        await afetch("DELETE FROM library_book")
        with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
            await afetch(ORPHAN)

    async with onloop.scope():
        await asyncio.create_task(work())
        assert connection.connection is None
    await assert_all_back()


async def test_a_connection_with_constraints_off_is_never_given_to_others() -> None:
    async with onloop.scope():
        await bridge.run(connection.disable_constraint_checking)
    assert (await pool_stats())["pool_size"] == 0
    assert await afetch("PRAGMA foreign_keys") == 1


async def test_inside_a_block_constraints_cannot_be_turned_off() -> None:
    async with transaction.atomic():
        assert await bridge.run(connection.disable_constraint_checking) is False
    assert connection.connection is None
    await assert_all_back()


async def test_nested_requests_for_constraints_off_keep_the_connection_once() -> None:
    def work() -> None:
        with connection.constraint_checks_disabled(), connection.constraint_checks_disabled():
            assert connection.connection is not None
        assert connection.connection is None

    await bridge.run(work)
    await assert_all_back()


async def test_a_schema_editor_works_on_the_loop(
    extra_alias: Callable[..., str], tmp_path: Path
) -> None:
    alias = extra_alias("schema", NAME=tmp_path / "schema.sqlite3")

    def work() -> None:
        with connections[alias].schema_editor() as editor:
            editor.create_model(Author)
            editor.create_model(Book)
        with connections[alias].schema_editor() as editor:
            old = Author._meta.get_field("name")
            new = copy.copy(old)
            new.max_length = 999
            editor.alter_field(Author, old, new)  # remakes the table

    await bridge.run(work)
    await Author.objects.using(alias).acreate(name="x" * 500)
    assert connections[alias].connection is None
    await assert_all_back(alias)


async def test_a_schema_editor_inside_a_block_is_refused_as_ever() -> None:
    async with transaction.atomic():

        def work() -> None:
            with connection.schema_editor():
                pass

        with pytest.raises(NotSupportedError, match="cannot be used while foreign key"):
            await bridge.run(work)
    await assert_all_back()


# --- SQL functions in Python ------------------------------------------------------------------


async def test_djangos_own_functions_work_in_a_worker() -> None:
    await amake_books(count=3)
    async with inline_ms(0):
        assert [date async for date in Book.objects.dates("published", "year")] == [
            datetime.date(1999, 1, 1)
        ]
        assert await Book.objects.filter(title__regex=r"^Ann [12]$").acount() == 2


async def test_a_query_on_a_tiny_budget_gives_what_it_gives_on_a_large_one() -> None:
    await Author.objects.abulk_create(Author(name=f"{n:04}") for n in range(2000))
    found = []
    for milliseconds in (ALL_TIME_MS, NO_TIME_MS, NO_TIME_MS, 0):
        async with inline_ms(milliseconds):
            found.append(await anames())
    assert found == [[f"{n:04}" for n in range(2000)]] * 4


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 asks; before, it is 999")
async def test_the_number_of_parameters_is_asked_of_the_connection_in_use() -> None:
    def limits() -> list[int]:
        with transaction.atomic():
            connection.ensure_connection()
            before = connection.features.max_query_params
            connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 42)
            try:
                return [before, connection.features.max_query_params]
            finally:
                connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)

    before, limited = await bridge.run(limits)
    assert (before > 42, limited) == (True, 42)
