"""What is left in a session is found however it is spelled: by names, functions and quotes."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from onloop import bridge
from tests.database import TestDatabases

from .helpers import abackend_pid, afetch, assert_all_back, backend_pid

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

LEAVES = {
    "table of pg_temp": "CREATE TABLE pg_temp.scratch (a int)",
    "quoted table of pg_temp": 'CREATE TABLE IF NOT EXISTS "pg_temp"."scratch" (a int)',
    "view of pg_temp": "CREATE OR REPLACE VIEW pg_temp.scratch AS SELECT 1",
    "SELECT INTO pg_temp": "SELECT 1 AS a INTO pg_temp.scratch",
    "lock by a quoted name": 'SELECT "pg_advisory_lock"(1)',
    "lock behind a quote in a name": 'SELECT 1 AS "it\'s", pg_advisory_lock(1)',
    "lock behind dashes in a name": 'SELECT 1 AS "a--b", pg_advisory_lock(1)',
    "SET behind an escaped quote": "SELECT E'it\\'s'; SET work_mem = '8MB'",
    "set_config of calls": "SELECT set_config('app.a', lower(upper(lower('a'))), false)",
    "set_config with a cast": "SELECT set_config('app.a', 'b', CAST(0 AS bool))",
}
LEAVES_NOTHING = {
    "local set_config of calls": "SELECT set_config('app.a', lower(upper(lower('a'))), true)",
    "table of pg_temp dropped at commit": (
        "CREATE TABLE pg_temp.scratch (a int) ON COMMIT DROP; INSERT INTO pg_temp.scratch"
        " VALUES (1)"
    ),
    "SET in a name": 'SELECT 1 AS "; SET work_mem = 1; "',
    "SET in an escaped literal": "SELECT E'it\\'s; SET work_mem = 1;'",
}


@pytest.mark.parametrize("statement", LEAVES.values(), ids=LEAVES)
async def test_a_connection_in_which_something_was_left_is_not_lent_on(statement: str) -> None:
    async with transaction.atomic():
        pid = await abackend_pid()
        await afetch(statement)
    assert await abackend_pid() != pid
    await assert_all_back()


@pytest.mark.parametrize("statement", LEAVES_NOTHING.values(), ids=LEAVES_NOTHING)
async def test_what_ends_with_the_transaction_costs_no_connection(statement: str) -> None:
    async with transaction.atomic():
        pid = await abackend_pid()
        await afetch(statement)
    assert await abackend_pid() == pid
    await assert_all_back()


async def test_a_lock_that_callproc_took_is_free_after_the_block(
    db_clean: TestDatabases,
) -> None:
    def work() -> int:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.callproc("pg_advisory_lock", [98])
            return backend_pid()

    pid = await bridge.run(work)
    assert await abackend_pid() != pid
    with db_clean.connect() as outsider:
        outsider.execute("SET lock_timeout = '5s'")
        outsider.execute("SELECT pg_advisory_lock(98)")  # or an error
    await assert_all_back()
