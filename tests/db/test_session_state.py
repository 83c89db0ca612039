"""What statements leave in a session never reaches the next borrower of the connection."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.utils import InterfaceError, InternalError
from psycopg import sql

import onloop
from onloop import bridge
from onloop.db.backends import sessionstate
from onloop.db.errors import SessionStateLost
from tests.database import TestDatabases
from tests.project.library.models import Author

from .helpers import abackend_pid, afetch, anames, assert_all_back, backend_pid, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

SESSION = {"pool": {"mode": "session", "max_size": 1}}
ONE = {"pool": {"max_size": 1}}

LEAVES = {
    "SET": "SET search_path TO pg_catalog",
    "SET SESSION": "set session statement_timeout = 1000",
    "SET ROLE": "SET ROLE postgres",
    "SET after a comment": "-- of a report\n/* and more */ SET work_mem = '8MB'",
    "SET behind another statement": "SELECT 1; SET work_mem = '8MB'",
    "LISTEN": "LISTEN news",
    "session lock": "SELECT pg_advisory_lock(1)",
    "attempt at a session lock": "SELECT 'a', pg_try_advisory_lock(1, 2)",
    "SET behind a name with dollars": "SELECT 1 AS a$b$; SET work_mem = '8MB'",
    "shared session lock": "select PG_ADVISORY_LOCK_SHARED (1)",
    "session lock in a DO block": "DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$",
    "set_config for the session": "SELECT set_config('app.tenant', '7', false)",
    "temporary table": "CREATE TEMPORARY TABLE scratch (a int)",
    "temporary table of a query": "CREATE TEMP TABLE scratch AS SELECT 1",
    "SELECT INTO TEMP": "SELECT 1 AS a INTO TEMP scratch",
    "PREPARE": "PREPARE mine AS SELECT 1",
    "cursor WITH HOLD": "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
}
LEAVES_NOTHING = {
    "SET LOCAL": "SET LOCAL work_mem = '8MB'",
    "SET TRANSACTION": "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS": "SET CONSTRAINTS ALL DEFERRED",
    "lock of the transaction": "SELECT pg_advisory_xact_lock(1)",
    "attempt at a lock of the transaction": "SELECT pg_try_advisory_xact_lock(1)",
    "set_config for the transaction": "SELECT set_config('app.tenant', lower('A'), true)",
    "temporary table dropped at commit": "CREATE TEMP TABLE scratch (a int) ON COMMIT DROP",
    "cursor without HOLD": "DECLARE mine CURSOR FOR SELECT 1",
    "a literal": "SELECT 'LISTEN; SET x; pg_advisory_lock(1)'",
    "an upsert": (
        "INSERT INTO library_author (name) VALUES ('a;b')"
        " ON CONFLICT (id) DO UPDATE SET name = ''"
    ),
    "the definition of a function": (
        "CREATE FUNCTION pg_temp.lock() RETURNS void LANGUAGE plpgsql AS"
        " $f$ BEGIN PERFORM pg_advisory_lock(1); END $f$"
    ),
    "SHOW": "SHOW work_mem",
}


@pytest.fixture(autouse=True)
def _each_warning_is_logged_again() -> None:
    sessionstate._logged.clear()


# --- inside of a block ------------------------------------------------------------------------


@pytest.mark.parametrize("statement", LEAVES.values(), ids=LEAVES)
async def test_a_connection_in_which_something_was_left_is_not_lent_on(statement: str) -> None:
    async with transaction.atomic():
        pid = await abackend_pid()
        await afetch(statement)
    assert await abackend_pid() != pid
    await assert_all_back()


@pytest.mark.parametrize("statement", LEAVES_NOTHING.values(), ids=LEAVES_NOTHING)
async def test_what_ends_with_the_transaction_costs_no_connection(statement: str) -> None:
    pid = await abackend_pid()
    async with transaction.atomic():
        await afetch(statement)
    assert await abackend_pid() == pid
    await assert_all_back()


@pytest.mark.parametrize(
    ("params", "same"),
    [(["app.tenant", "7", True], True), (["app.tenant", "7", False], False)],
    ids=["local", "session"],
)
async def test_the_parameters_of_set_config_are_looked_at(params: Any, same: bool) -> None:
    async with transaction.atomic():
        pid = await abackend_pid()
        await afetch("SELECT set_config(%s, %s, %s)", params)
    assert (await abackend_pid() == pid) is same


@pytest.mark.parametrize(
    "statement",
    [b"SET work_mem = '8MB'", sql.SQL("SET work_mem = {}").format(sql.Literal("8MB"))],
    ids=["bytes", "composed"],
)
async def test_statements_that_are_no_strings_are_looked_at(statement: Any) -> None:
    async with transaction.atomic():
        pid = await abackend_pid()
        await afetch(statement)
    assert await abackend_pid() != pid


async def test_statements_of_executemany_are_looked_at() -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.executemany("SELECT set_config(%s, '1', false)", [["a.b"], ["a.c"]])

    async with transaction.atomic():
        pid = await abackend_pid()
        await bridge.run(work)
    assert await abackend_pid() != pid


@pytest.mark.parametrize("way", ["execute", "cursor"])
async def test_statements_on_psycopgs_own_connection_are_looked_at(way: str) -> None:
    def work() -> None:
        raw: Any = connection.connection
        if way == "execute":
            raw.execute("SET work_mem = '8MB'")
        else:
            raw.cursor().execute("SET work_mem = '8MB'")

    async with transaction.atomic():
        pid = await abackend_pid()
        await bridge.run(work)
    assert await abackend_pid() != pid


async def test_the_next_borrower_finds_nothing_of_a_block_that_set_something(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("one", OPTIONS=ONE)
    async with transaction.atomic(using=alias):
        await afetch("SET search_path TO pg_catalog", alias=alias)
    assert await afetch("SHOW search_path", alias=alias) == '"$user", public'
    await assert_all_back(alias)


async def test_a_session_lock_of_a_block_is_free_after_it(db_clean: TestDatabases) -> None:
    async with transaction.atomic():
        await afetch("SELECT pg_advisory_lock(99)")
    with db_clean.connect() as outsider:
        outsider.execute("SET lock_timeout = '5s'")
        outsider.execute("SELECT pg_advisory_lock(99)")  # or an error
    await assert_all_back()


async def test_callbacks_of_a_block_run_though_its_connection_is_replaced() -> None:
    seen: list[int] = []

    async def callback() -> None:
        seen.append(await Author.objects.acount())

    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        await afetch("SET work_mem = '8MB'")
        transaction.on_commit(callback)
    assert seen == [1]


async def test_a_warning_says_once_for_each_text_what_it_costs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        async with transaction.atomic():
            await afetch("SET work_mem = '8MB'")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "\"SET work_mem = '8MB'\"" in record.getMessage()
    assert "SET LOCAL" in record.getMessage()


# --- outside of any block ---------------------------------------------------------------------


@pytest.mark.parametrize("statement", LEAVES.values(), ids=LEAVES)
async def test_what_is_lost_at_once_is_an_error(statement: str) -> None:
    with pytest.raises(SessionStateLost, match="is lost"):
        await afetch(statement)
    await assert_all_back()


@pytest.mark.parametrize("statement", LEAVES_NOTHING.values(), ids=LEAVES_NOTHING)
async def test_what_leaves_nothing_is_no_error(statement: str) -> None:
    with contextlib.suppress(InternalError):  # PostgreSQL refuses DECLARE without HOLD
        await afetch(statement)
    await assert_all_back()


async def test_the_error_names_statement_and_cures_and_is_no_error_of_the_server() -> None:
    """Engines that set something for each cursor ignore `DatabaseError` there."""
    with pytest.raises(InterfaceError) as caught:
        await afetch("SELECT pg_try_advisory_lock(7)")
    message = str(caught.value)
    for word in ("pg_try_advisory_lock(7)", "'default'", "atomic", "ensure_connection",
                 "session", "pg_advisory_xact_lock"):  # fmt: skip
        assert word in message


async def test_something_set_for_a_cursor_that_stays_open_holds_for_it() -> None:
    """As `with advisory_lock(): ...` of common packages does."""

    def work() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1)")
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            inside = [fetch(f"{locks} AND pid = pg_backend_pid()")]
            inside.append(backend_pid())
            cursor.execute("SELECT pg_advisory_unlock(1)")
        return inside

    locks, pid = await bridge.run(work)
    assert locks == 1
    assert await abackend_pid() != pid
    await assert_all_back()


async def test_rows_may_be_copied_into_a_temporary_table_of_an_open_cursor() -> None:
    def work() -> int:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE scratch (a int)")
            with cursor.copy("COPY scratch FROM STDIN") as copy:
                copy.write_row((1,))
        return 1

    assert await bridge.run(work) == 1
    with pytest.raises(Exception, match="does not exist"):
        await afetch("SELECT * FROM scratch")


async def test_an_error_of_the_code_is_not_hidden_by_what_was_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN news")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(work)
    assert "LISTEN news" in caplog.text
    await assert_all_back()


async def test_a_forgotten_cursor_that_set_something_gives_its_slot_back() -> None:
    def work() -> None:
        connection.cursor().execute("SET work_mem = '8MB'")

    async with onloop.scope():
        await bridge.run(work)
        gc.collect()
        await assert_all_back()


# --- on a connection that is kept -------------------------------------------------------------


async def test_on_a_connection_that_is_pinned_it_holds_until_close(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("one", OPTIONS=ONE)

    def pinned() -> tuple[str, int]:
        connections[alias].ensure_connection()
        fetch("SET application_name = 'mine'", alias=alias)
        found = fetch("SHOW application_name", alias=alias), backend_pid(alias)
        connections[alias].close()
        return found

    name, pid = await bridge.run(pinned)
    assert name == "mine"
    assert await abackend_pid(alias) != pid
    await assert_all_back(alias)


async def test_in_session_mode_it_holds_until_the_scope_ends(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS=SESSION)
    async with onloop.scope():
        await afetch("SET application_name = 'mine'", alias=alias)
        pid = await abackend_pid(alias)
    async with onloop.scope():
        assert await afetch("SHOW application_name", alias=alias) == "onloop-tests"
        assert await abackend_pid(alias) != pid
    await assert_all_back(alias)


async def test_a_scope_in_session_mode_that_leaves_nothing_costs_no_connection(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS=SESSION)
    pids = set()
    for _ in range(3):
        async with onloop.scope():
            pids.add(await abackend_pid(alias))
    assert len(pids) == 1


CLEANED = {
    "RESET ALL": ("SET work_mem = '8MB'", "RESET ALL"),
    "DISCARD ALL": ("LISTEN news", "DISCARD ALL"),
    "UNLISTEN": ("LISTEN news", "UNLISTEN *"),
    "pg_advisory_unlock_all": (LEAVES["session lock"], "SELECT pg_advisory_unlock_all()"),
    "DISCARD TEMP": (LEAVES["temporary table"], "DISCARD TEMP"),
    "DEALLOCATE ALL": (LEAVES["PREPARE"], "DEALLOCATE ALL"),
    "CLOSE ALL": (LEAVES["cursor WITH HOLD"], "CLOSE ALL"),
}


@pytest.mark.parametrize(("statement", "cleaner"), CLEANED.values(), ids=CLEANED)
async def test_who_cleans_up_keeps_the_connection_in_the_pool(
    extra_alias: Callable[..., str], statement: str, cleaner: str
) -> None:
    alias = extra_alias("session", OPTIONS=SESSION)
    async with onloop.scope():
        pid = await abackend_pid(alias)
        await afetch(statement, alias=alias)
        await afetch(cleaner, alias=alias)
    assert await abackend_pid(alias) == pid


async def test_cleaning_up_something_else_does_not_help(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS=SESSION)
    async with onloop.scope():
        pid = await abackend_pid(alias)
        await afetch("LISTEN news", alias=alias)
        await afetch("RESET ALL", alias=alias)
    assert await abackend_pid(alias) != pid


@pytest.mark.parametrize("cleaner", ["RESET ALL", "DISCARD ALL", "RESET TIME ZONE"])
async def test_a_connection_that_lost_what_django_had_set_up_is_replaced(
    extra_alias: Callable[..., str], cleaner: str
) -> None:
    """The server's own time zone is not the project's: Django sets it when it connects."""
    alias = extra_alias("zoned", OPTIONS={**SESSION, "options": "-c TimeZone=Asia/Tokyo"})
    async with onloop.scope():
        await afetch(cleaner, alias=alias)
        assert await afetch("SHOW timezone", alias=alias) == "Asia/Tokyo"
    assert await afetch("SHOW timezone", alias=alias) == "UTC"


async def test_what_a_receiver_of_connection_created_sets_stays_with_the_connection(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("received", OPTIONS=ONE)

    def receiver(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET application_name = 'received'")

    connection_created.connect(receiver)
    try:
        pid = await abackend_pid(alias)
        assert await afetch("SHOW application_name", alias=alias) == "received"
        assert await abackend_pid(alias) == pid
    finally:
        connection_created.disconnect(receiver)


def test_a_plain_thread_keeps_djangos_own_behaviour() -> None:
    fetch("SET application_name = 'mine'")
    assert fetch("SHOW application_name") == "mine"
    fetch("RESET ALL")


async def test_ordinary_queries_keep_their_connection() -> None:
    await Author.objects.acreate(name="Ann")
    pid = await abackend_pid()
    await Author.objects.filter(name="Ann").aupdate(name="Bob")
    assert await anames() == ["Bob"]
    assert await abackend_pid() == pid
