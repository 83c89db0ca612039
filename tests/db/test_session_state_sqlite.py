"""SQLite: what statements leave in a connection never reaches its next borrower."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction

import onloop
from onloop import bridge
from onloop.db.backends import sessionstate
from onloop.db.errors import SessionStateLost

from .helpers import afetch, assert_all_back, fetch
from .sqlite import NUMBERS, Probe, inline_ms

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

COUNT = f"{NUMBERS} SELECT count(probe(n)) FROM numbers"
LEAVES = {
    "pragma": "PRAGMA cache_size = 7",
    "pragma with brackets": "pragma main.cache_size(7)",
    "foreign keys off": "PRAGMA foreign_keys = OFF",
    "temporary table": "CREATE TEMP TABLE scratch (a)",
    "temporary view": "CREATE TEMPORARY VIEW scratch AS SELECT 1",
    "table of temp": "CREATE TABLE IF NOT EXISTS temp.scratch (a)",
    "quoted table of temp": 'CREATE TABLE "temp"."scratch" (a)',
    "quoted pragma": 'PRAGMA "cache_size" = 7',
    "attached database": "ATTACH ':memory:' AS other",
}
LEAVES_NOTHING = {
    "question": "PRAGMA cache_size",
    "table_info": "PRAGMA table_info(library_author)",
    "foreign_key_check": "PRAGMA foreign_key_check('library_author')",
    "foreign keys on": "PRAGMA foreign_keys = ON",
    "of the transaction": "PRAGMA defer_foreign_keys = ON",
    "kept in the file": "PRAGMA user_version = 3",
    "a literal": "SELECT 'ATTACH'",
}


@pytest.fixture(autouse=True)
def _each_warning_is_logged_again() -> None:
    sessionstate._logged.clear()


def physical() -> Any:
    """The connection that a statement runs on; kept by the caller, so ids do not recur."""
    with connection.cursor():
        return connection.connection


async def aphysical() -> Any:
    return await bridge.run(physical)


@pytest.mark.parametrize("statement", LEAVES.values(), ids=LEAVES)
async def test_outside_of_a_block_it_is_an_error_and_the_connection_replaced(
    statement: str,
) -> None:
    before = await aphysical()
    with pytest.raises(SessionStateLost, match="is lost"):
        await afetch(statement)
    assert await aphysical() is not before
    await assert_all_back()


@pytest.mark.parametrize("statement", [s for s in LEAVES.values() if "ATTACH" not in s])
async def test_inside_of_a_block_it_works_and_the_connection_is_replaced(
    statement: str,
) -> None:
    before = await aphysical()
    async with transaction.atomic():
        await afetch(statement)
    assert await aphysical() is not before
    await assert_all_back()


@pytest.mark.parametrize("statement", LEAVES_NOTHING.values(), ids=LEAVES_NOTHING)
async def test_what_leaves_nothing_costs_no_connection(statement: str) -> None:
    before = await aphysical()
    await afetch(statement)
    assert await aphysical() is before
    await assert_all_back()


async def test_a_script_is_looked_at() -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.executescript("SELECT 1; CREATE TEMP TABLE scratch (a)")

    before = await aphysical()
    with pytest.raises(SessionStateLost, match="is lost"):
        await bridge.run(work)
    assert await aphysical() is not before
    await assert_all_back()


async def test_a_script_waits_until_the_worker_is_done_with_the_connection(
    probe: Probe,
) -> None:
    """Both would wait for each other: for SQLite's mutex, and for the interpreter's lock."""
    done: list[str] = []

    async def slow() -> None:
        assert await afetch(COUNT) == 5000
        done.append("count")

    def script() -> None:
        with connection.cursor() as cursor:
            cursor.executescript("SELECT 1; SELECT 2")
        done.append("script")

    async with inline_ms(0), transaction.atomic():
        slow_one = asyncio.create_task(slow())
        await asyncio.sleep(0)
        assert await bridge.run(lambda: connection.connection.job is not None)
        await bridge.run(script)
        await slow_one
    assert done == ["count", "script"]


async def test_a_temporary_table_lives_as_long_as_the_cursor_that_made_it() -> None:
    def work() -> int:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE scratch (a)")
            cursor.execute("INSERT INTO scratch VALUES (7)")
            cursor.execute("SELECT a FROM scratch")
            return cursor.fetchone()[0]

    assert await bridge.run(work) == 7
    with pytest.raises(Exception, match="no such table"):
        await afetch("SELECT * FROM scratch")
    await assert_all_back()


async def test_a_pragma_holds_on_a_connection_that_is_pinned() -> None:
    def pinned() -> int:
        connection.ensure_connection()
        fetch("PRAGMA cache_size = 7")
        found = fetch("PRAGMA cache_size")
        connection.close()
        return found

    assert await bridge.run(pinned) == 7
    assert await afetch("PRAGMA cache_size") != 7
    await assert_all_back()


async def test_a_pragma_of_a_scope_in_session_mode_ends_with_it(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS={"pool": {"mode": "session", "max_size": 1}})
    async with onloop.scope():
        await afetch("PRAGMA cache_size = 7", alias=alias)
        assert await afetch("PRAGMA cache_size", alias=alias) == 7
    async with onloop.scope():
        assert await afetch("PRAGMA cache_size", alias=alias) != 7
    await assert_all_back(alias)


async def test_foreign_keys_that_are_switched_on_again_cost_no_connection(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS={"pool": {"mode": "session", "max_size": 1}})

    def work() -> Any:
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys = OFF")
            cursor.execute("PRAGMA foreign_keys = ON")
        return connections[alias].connection

    async with onloop.scope():
        first = await bridge.run(work)
    async with onloop.scope():
        assert await bridge.run(work) is first


async def test_an_init_command_of_the_settings_stays_with_the_connection(
    extra_alias: Callable[..., str], tmp_path: Path
) -> None:
    alias = extra_alias("initial", OPTIONS={"init_command": "PRAGMA cache_size = 7"})
    for _ in range(2):
        assert await afetch("PRAGMA cache_size", alias=alias) == 7


def test_a_plain_thread_keeps_djangos_own_behaviour() -> None:
    fetch("PRAGMA cache_size = 7")
    assert fetch("PRAGMA cache_size") == 7
