"""SQLite: what the connections of the loop are set to, and what the settings may say."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable
from tests.project.library.models import Author

from .helpers import afetch, anames, assert_all_back, fetch, names
from .sqlite import OtherProcess, make_authors, refused

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

FULL, NORMAL = 2, 1


@pytest.fixture
def other_file(extra_alias: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """`other_file("PRAGMA …", timeout=1)`: the alias of a file that plain sync code made."""
    path = tmp_path / "other.sqlite3"
    make_authors(extra_alias("maker", NAME=path))

    def make(init_command: str = "", **options: Any) -> str:
        return extra_alias("file", NAME=path, OPTIONS={"init_command": init_command, **options})

    return make


def path_of(alias: str) -> Path:
    return Path(connections.settings[alias]["NAME"])


def mode_of(alias: str) -> str:
    with closing(sqlite3.connect(path_of(alias))) as raw:
        return raw.execute("PRAGMA journal_mode").fetchone()[0]


async def pragmas(alias: str) -> tuple[str, int]:
    return (
        await afetch("PRAGMA journal_mode", alias=alias),
        await afetch("PRAGMA synchronous", alias=alias),
    )


async def test_connections_of_the_loop_use_write_ahead_logging(
    other_file: Callable[..., str],
) -> None:
    assert await pragmas(other_file()) == ("wal", NORMAL)


def test_plain_sync_code_leaves_the_file_as_it_is(other_file: Callable[..., str]) -> None:
    alias = other_file()
    assert fetch("PRAGMA journal_mode", alias=alias) == "delete"
    assert fetch("PRAGMA synchronous", alias=alias) == FULL


async def test_plain_sync_code_works_with_the_file_of_the_loop(
    other_file: Callable[..., str],
) -> None:
    alias = other_file()
    await Author.objects.using(alias).acreate(name="Ann")

    def in_thread() -> list[str]:
        Author.objects.using(alias).create(name="Bob")
        found = names(alias)
        connections[alias].close()
        return found

    assert await asyncio.to_thread(in_thread) == ["Ann", "Bob"]
    assert await anames(alias) == ["Ann", "Bob"]


@pytest.mark.parametrize(
    ("init_command", "mode", "synchronous"),
    [
        ("PRAGMA journal_mode; PRAGMA synchronous", "delete", FULL),
        ("PRAGMA journal_mode=DELETE", "delete", FULL),
        ("pragma main.journal_mode = truncate", "truncate", FULL),
        ("PRAGMA synchronous=FULL", "wal", FULL),
        ("PRAGMA cache_size=-4000; PRAGMA synchronous = EXTRA;", "wal", 3),
        ("PRAGMA journal_mode=WAL", "wal", NORMAL),
    ],
)
async def test_what_an_init_command_names_is_left_to_it(
    other_file: Callable[..., str], init_command: str, mode: str, synchronous: int
) -> None:
    assert await pragmas(other_file(init_command)) == (mode, synchronous)


async def test_a_file_that_another_process_has_locked_is_opened_as_it_is(
    other_file: Callable[..., str],
) -> None:
    alias = other_file()
    other = OtherProcess(path_of(alias))
    other.execute("BEGIN EXCLUSIVE")
    reading = asyncio.create_task(anames(alias))
    await refused(reading)
    other.execute("COMMIT")
    assert await reading == []
    other.end()
    assert mode_of(alias) == "delete"


async def test_an_init_command_waits_for_another_process_while_the_loop_goes_on(
    other_file: Callable[..., str],
) -> None:
    alias = other_file("UPDATE library_author SET name = 'x'")
    other = OtherProcess(path_of(alias))
    other.execute("BEGIN EXCLUSIVE")
    reading = asyncio.create_task(anames(alias))
    await refused(reading)
    other.execute("COMMIT")
    other.end()
    assert await reading == []
    await assert_all_back(alias)


async def test_an_init_command_that_waits_too_long_raises(
    other_file: Callable[..., str],
) -> None:
    alias = other_file("UPDATE library_author SET name = 'x'", timeout=0.05)
    other = OtherProcess(path_of(alias))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await anames(alias)
    other.end()
    await assert_all_back(alias)


async def test_a_task_that_is_cancelled_while_an_init_command_waits_leaves_nothing(
    other_file: Callable[..., str],
) -> None:
    alias = other_file("UPDATE library_author SET name = 'x'")
    other = OtherProcess(path_of(alias))
    other.execute("BEGIN EXCLUSIVE")
    reading = asyncio.create_task(anames(alias))
    await refused(reading)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    other.end()
    await assert_all_back(alias)
    assert await anames(alias) == []


async def test_a_read_only_file_can_be_read(
    other_file: Callable[..., str], extra_alias: Callable[..., str]
) -> None:
    path = path_of(other_file())
    alias = extra_alias("readonly", NAME=f"file:{path}?mode=ro", OPTIONS={})
    assert await anames(alias) == []
    with pytest.raises(OperationalError, match="readonly database"):
        await Author.objects.using(alias).acreate(name="Ann")
    await assert_all_back(alias)


async def test_a_file_that_is_no_database_is_told_by_the_statement_as_ever(
    other_file: Callable[..., str], extra_alias: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear SQLite,\n" * 100)
    alias = extra_alias("letter", NAME=path, OPTIONS={})
    with pytest.raises(DatabaseError, match=r"^file is not a database$"):
        await anames(alias)
    await assert_all_back(alias)


async def test_one_file_has_one_queue_of_writers_however_it_is_named(
    other_file: Callable[..., str], extra_alias: Callable[..., str]
) -> None:
    alias = other_file()
    path = path_of(alias)
    link = path.parent / "link.sqlite3"
    os.symlink(path, link)
    also = extra_alias("also", NAME=link)
    async with transaction.atomic(using=alias):
        waiting = asyncio.create_task(Author.objects.using(also).acreate(name="Bob"))
        await refused(waiting)
        await Author.objects.using(alias).acreate(name="Ann")
    await waiting
    assert connections[alias]._database is not None
    assert connections[alias]._database is connections[also]._database


async def test_receivers_may_add_functions_and_hear_of_each_connection_once(
    other_file: Callable[..., str],
) -> None:
    alias = other_file()
    opened = []

    def add(connection: Any, **kwargs: Any) -> None:
        opened.append(connection.alias)
        connection.connection.create_function("twice", 1, lambda value: value * 2)
        connection.connection.create_function("broken", 0, lambda: 1 / 0)

    connection_created.connect(add)
    try:
        assert await afetch("SELECT twice(21)", alias=alias) == 42
        with pytest.raises(OperationalError, match=r"^user-defined function raised exception$"):
            await afetch("SELECT broken()", alias=alias)
        assert await afetch("SELECT twice(4)", alias=alias) == 8
    finally:
        connection_created.disconnect(add)
    assert opened == [alias]
    await assert_all_back(alias)


async def test_a_receiver_that_fails_leaves_no_connection_behind(
    other_file: Callable[..., str],
) -> None:
    alias = other_file()
    made = []

    def fail(connection: Any, **kwargs: Any) -> None:
        made.append(connection.connection)
        raise ZeroDivisionError

    connection_created.connect(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            await anames(alias)
    finally:
        connection_created.disconnect(fail)
    assert made[0].closed
    assert await anames(alias) == []
    await assert_all_back(alias)


async def test_a_failed_opening_closes_what_it_had_opened(
    other_file: Callable[..., str], recwarn: pytest.WarningsRecorder
) -> None:
    alias = other_file("NONSENSE")
    with pytest.raises(DatabaseUnavailable, match="syntax error"):
        await bridge.run(connections[alias].ensure_connection)
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]
