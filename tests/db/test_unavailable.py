"""Databases that are not there, and connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable
from tests.database import TestDatabases
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import (
    abackend_pid,
    afetch,
    anames,
    assert_all_back,
    backend_pid,
    fetch,
    pool_stats,
)

pytestmark = pytest.mark.usefixtures("db_clean")


# --- databases that are not there -------------------------------------------------------------


@pytest.fixture
def nowhere(db_clean: TestDatabases, extra_alias: Callable[..., str], tmp_path: Any) -> str:
    if db_clean.kind == "sqlite":
        return extra_alias("nowhere", NAME=str(tmp_path / "no" / "such" / "folder.sqlite3"))
    return extra_alias("nowhere", HOST=str(tmp_path))


async def test_a_database_that_is_not_there_is_unavailable(
    nowhere: str, run_task: Callable[..., Any]
) -> None:
    with pytest.raises(DatabaseUnavailable, match="No connection to the database 'nowhere'"):
        await run_task(anames(nowhere))
    await assert_all_back(nowhere)


async def test_unavailable_is_one_of_djangos_operational_errors(nowhere: str) -> None:
    with pytest.raises(OperationalError):
        async with transaction.atomic(using=nowhere):
            await anames(nowhere)
    await assert_all_back(nowhere)


async def test_many_who_find_no_database_lose_no_slot(nowhere: str) -> None:
    results = await asyncio.gather(
        *(anames(nowhere) for _ in range(30)), return_exceptions=True
    )
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    assert (await pool_stats(nowhere))["pool_size"] == 0


def test_plain_sync_code_gets_djangos_own_error(nowhere: str) -> None:
    with pytest.raises(OperationalError):
        fetch("SELECT 1", alias=nowhere)


@pytest.mark.only_on("postgresql")
async def test_a_database_that_does_not_exist_is_unavailable(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("absent", NAME="no_such_database")
    with pytest.raises(DatabaseUnavailable, match='"no_such_database" does not exist'):
        await anames(alias)


@pytest.mark.only_on("postgresql")
async def test_a_wrong_password_is_unavailable(
    db_clean: TestDatabases, extra_alias: Callable[..., str]
) -> None:
    """The server trusts everybody, so a role that may not log in stands for it."""
    with db_clean.connect() as outsider:
        outsider.execute("CREATE ROLE locked_out NOLOGIN PASSWORD 'secret'")
        try:
            alias = extra_alias("locked", USER="locked_out", PASSWORD="wrong")
            with pytest.raises(DatabaseUnavailable, match="locked_out"):
                await anames(alias)
        finally:
            outsider.execute("DROP ROLE locked_out")


# --- back ends that die -----------------------------------------------------------------------


@pytest.mark.only_on("postgresql")
async def test_an_idle_connection_whose_back_end_was_killed_is_replaced_without_an_error(
    db_clean: TestDatabases, pg_activity: Callable[..., Any]
) -> None:
    pid = await abackend_pid()
    with db_clean.connect() as outsider:
        outsider.execute("SELECT pg_terminate_backend(%s)", [pid])
    await eventually(lambda: pid not in {backend.pid for backend in pg_activity()})
    assert await abackend_pid() != pid
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_a_back_end_killed_in_mid_query_is_an_error_and_the_pool_recovers(
    db_clean: TestDatabases, gate: Gate
) -> None:
    task = asyncio.create_task(afetch(gate.sql))
    (backend,) = await gate.until_waiting(1)
    with db_clean.connect() as outsider:
        outsider.execute("SELECT pg_terminate_backend(%s)", [backend.pid])
    with pytest.raises(OperationalError, match="terminating connection"):
        await task
    assert await abackend_pid() != backend.pid
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_a_back_end_killed_inside_of_a_block_ends_it_and_the_pool_recovers(
    db_clean: TestDatabases,
) -> None:
    with pytest.raises(OperationalError):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            pid = await bridge.run(backend_pid)
            with db_clean.connect() as outsider:
                outsider.execute("SELECT pg_terminate_backend(%s)", [pid])
            await Author.objects.acreate(name="Bob")
    assert await anames() == []
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_a_back_end_killed_before_a_server_side_cursor_is_closed_is_one_of_djangos_errors(
    db_clean: TestDatabases,
) -> None:
    def work() -> None:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT 1")
            with db_clean.connect() as outsider:
                pid = connection.connection.info.backend_pid
                outsider.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    with pytest.raises(OperationalError):
        await bridge.run(work)
    await assert_all_back()
