"""Django writes a statement down when it has ended, cancelled or not, and asks for its values.

By then the connection of one that was cancelled is back in the pool, or gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from onloop import bridge
from tests.project.library.models import Author

from .conftest import Gate
from .helpers import anames, assert_all_back
from .sqlite import NUMBERS, Probe, happened, inline_ms, refused

pytestmark = pytest.mark.usefixtures("db_clean")

# With a value, which the log shows in its place.
SLOW_PARAMS = [7]


def logged(sql: str, log: list[Any], alias: str = "default") -> None:
    """Run one statement with the query log of DEBUG."""
    connection = connections[alias]
    connection.force_debug_cursor = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, SLOW_PARAMS)
    finally:
        connection.force_debug_cursor = False
        log.extend(connection.queries_log)


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("in_block", [False, True])
async def test_a_cancelled_statement_of_a_worker_that_is_logged_stays_cancelled(
    probe: Probe, in_block: bool
) -> None:
    sql = f"{NUMBERS} SELECT count(probe(n)) FROM numbers WHERE n > %s"
    log: list[Any] = []

    async def work() -> None:
        if in_block:
            async with transaction.atomic():
                await bridge.run(logged, sql, log)
        else:
            await bridge.run(logged, sql, log)

    async with inline_ms(0):
        probe.hold()
        task = asyncio.create_task(work())
        await happened(probe.entered)
        task.cancel()
        await refused(task)
        probe.release()
        await asyncio.wait([task])
    assert task.cancelled(), task
    assert any("count(probe(n))" in str(each["sql"]) for each in log)
    await assert_all_back()


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("often", [1, 2])
@pytest.mark.parametrize("in_block", [False, True])
@pytest.mark.parametrize("bound_by", ["the client", "the server"])
async def test_a_cancelled_query_that_is_logged_stays_cancelled(
    gate: Gate,
    extra_alias: Callable[..., str],
    often: int,
    in_block: bool,
    bound_by: str,
) -> None:
    """Django asks for a cursor to put the values in, where the server does that."""
    options = {"server_side_binding": bound_by == "the server", "pool": {"max_size": 1}}
    alias = extra_alias("bound", OPTIONS=options)
    sql = f"{gate.sql}, %s"
    log: list[Any] = []

    async def work() -> None:
        if in_block:
            async with transaction.atomic(using=alias):
                await bridge.run(logged, sql, log, alias)
        else:
            await bridge.run(logged, sql, log, alias)

    task = asyncio.create_task(work())
    await gate.until_waiting(1)
    for _ in range(often):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])
    assert task.cancelled(), task
    assert any(Gate.WAITING in str(each["sql"]) for each in log)
    gate.open()
    assert await anames(alias) == []
    await assert_all_back(alias)


async def test_a_query_that_fails_is_logged_and_stays_that_error() -> None:
    log: list[Any] = []
    with pytest.raises(Exception, match="nowhere"):
        await bridge.run(logged, "SELECT %s FROM nowhere", log)
    assert any("nowhere" in str(each["sql"]) for each in log)
    await assert_all_back()
    assert not await Author.objects.aexists()
