"""Every kind of leak, and every fault of the network: planted, and named by the ledger."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import transaction
from django.db.utils import DatabaseError

import onloop
from onloop.testing import FaultProxy, Leak, Leaked, LeakLedger
from tests.database import TestDatabases
from tests.db.eventually import eventually
from tests.holding import alias_with_one_connection
from tests.project.library.models import Author

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture
def ledger(tmp_path: Path) -> LeakLedger:
    return LeakLedger(timeout_s=0.0, temp_folder=tmp_path)


def named(caught: pytest.ExceptionInfo[Leaked]) -> dict[str, str]:
    """What is complained of, by kind."""
    found: dict[str, str] = {}
    for leak in caught.value.leaks:
        found[leak.kind] = found.get(leak.kind, "") + str(leak)
    return found


# --- leaks ------------------------------------------------------------------------------------


def test_every_kind_of_leak_is_planted_somewhere() -> None:
    """Each kind stands in a test of this folder that expects the ledger to name it."""
    kinds = set(re.findall(r'"(\w+)"', Leak.__doc__ or ""))
    assert len(kinds) == 11
    planted = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for test in ast.walk(ast.parse(path.read_text())):
            if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if "Leaked" not in ast.unparse(test) and "held_by_a_task" not in ast.unparse(test):
                continue
            planted |= {
                node.value
                for node in ast.walk(test)
                if isinstance(node, ast.Constant) and node.value in kinds
            }
    assert planted == kinds


@pytest.fixture
def single() -> Iterator[str]:
    with alias_with_one_connection() as alias:
        yield alias


async def test_a_caller_that_waits_for_a_connection_is_named(
    ledger: LeakLedger, single: str
) -> None:
    holds, go_on = asyncio.Event(), asyncio.Event()

    async def hold(alias: str) -> None:
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acount()
            holds.set()
            await go_on.wait()

    holder = asyncio.create_task(hold(single))
    await holds.wait()
    with pytest.raises(Leaked) as caught:
        async with ledger:
            waiting = asyncio.create_task(Author.objects.using(single).acount())
            await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(holder, waiting)
    assert "1 callers still wait for a connection" in named(caught)["connection"]


@pytest.mark.only_on("postgresql")
async def test_a_lock_that_is_waited_for_is_named(
    ledger: LeakLedger, db_clean: TestDatabases
) -> None:
    with db_clean.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE library_author")
        with pytest.raises(Leaked) as caught:
            async with ledger:
                waiting = asyncio.create_task(Author.objects.acount())
                await eventually(lambda: db_clean.activity("library_author", state="active"))
        other.execute("ROLLBACK")
        await waiting
    assert "waits for AccessShareLock (relation library_author)" in named(caught)["lock"]


# --- faults of the network --------------------------------------------------------------------


@pytest.fixture
def before(fault_proxy: FaultProxy) -> Any:
    with fault_proxy.in_front_of("default"):
        yield fault_proxy


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda proxy: proxy.delay(300), id="delay"),
        pytest.param(lambda proxy: proxy.black_hole("both"), id="black hole"),
        pytest.param(lambda proxy: proxy.half_open(), id="half-open"),
    ],
)
async def test_what_a_silent_network_holds_up_is_named(
    before: FaultProxy, ledger: LeakLedger, fault: Callable[[FaultProxy], None]
) -> None:
    assert await Author.objects.acount() == 0
    with pytest.raises(Leaked) as caught:
        async with ledger:
            fault(before)
            query = asyncio.create_task(Author.objects.acount(), name="the query")
            while not query_is_sent(query):
                await asyncio.sleep(0)
    complaint = named(caught)
    assert "'the query' is not done; it waits in" in complaint["task"]
    assert "are out, 1 more than before" in complaint["connection"]
    query.cancel()
    before.forward()
    await asyncio.gather(query, return_exceptions=True)


def query_is_sent(query: asyncio.Task[Any]) -> bool:
    """It waits in the driver: there is nothing more that it does by itself."""
    return "in _wait_on_loop" in str(onloop.testing.Stack.of(query))


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("fault", ["cut", "reset"])
async def test_a_network_that_fails_is_an_error_and_leaves_nothing(
    before: FaultProxy, tmp_path: Path, fault: str
) -> None:
    assert await Author.objects.acount() == 0
    async with LeakLedger(temp_folder=tmp_path):
        trigger = before.when(fault, direction="up", messages=1)  # type: ignore[arg-type]
        with pytest.raises(DatabaseError):
            await Author.objects.acount()
        assert trigger.fired
    assert await Author.objects.acount() == 0


@pytest.mark.only_on("postgresql")
async def test_a_network_that_is_late_leaves_nothing_once_the_answer_is_there(
    before: FaultProxy, tmp_path: Path
) -> None:
    before.delay(50)
    async with LeakLedger(temp_folder=tmp_path):
        task = asyncio.create_task(Author.objects.acount())
    assert task.done()


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("action", ["cut", "reset", "half_open", "black_hole"])
def test_every_fault_can_come_at_a_chosen_message(
    fault_proxy: FaultProxy, db_clean: TestDatabases, action: Any
) -> None:
    assert db_clean.place is not None
    parameters = fault_proxy.parameters(**db_clean.place.parameters())
    with contextlib.closing(psycopg.connect(**parameters, autocommit=True)) as connection:
        trigger = fault_proxy.when(action, direction="down", messages=2)
        connection.pgconn.send_query(b"SELECT generate_series(1, 3)")
        connection.pgconn.flush()
        assert trigger.wait()
        assert trigger.connection is not None
        # RowDescription and the first row were let through, and no more.
        assert trigger.connection.closed == (action in {"cut", "reset"})
