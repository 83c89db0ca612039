"""SQLite: what is slow goes to a worker thread, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from onloop.db.backends.sqlite3.inline import Budget, Kind, SlowTexts, kind_of
from onloop.db.scope import Scope, current_scope
from tests.project.library.models import Author

from .helpers import afetch, anames, assert_all_back
from .sqlite import (
    ALL_TIME_MS,
    NO_TIME_MS,
    NUMBERS,
    Probe,
    happened,
    inline_ms,
    refused,
    rows_of,
)

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

COUNT = f"{NUMBERS} SELECT count(probe(n)) FROM numbers"
ROWS = f"{NUMBERS} SELECT probe(n) FROM numbers"
INSERT = (
    "INSERT INTO library_author (name) SELECT probe(n) || hex(randomblob(8)) "
    f"FROM ({NUMBERS} SELECT n FROM numbers)"
)
EACH = 5000  # calls of `probe` by each of them


async def count() -> list[Any]:
    return await rows_of(COUNT)


async def write() -> None:
    await afetch(INSERT)


def used_worker(probe: Probe) -> bool:
    return any(name.startswith("onloop-sqlite") for name in probe.threads)


# --- a SELECT outside a transaction -----------------------------------------------------------


async def test_a_slow_select_is_stopped_and_run_again_in_a_worker(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        assert await count() == [EACH]
    assert 0 < probe.on_loop < EACH
    assert probe.in_worker == EACH
    assert used_worker(probe)
    await assert_all_back()


async def test_the_loop_goes_on_while_a_worker_runs(probe: Probe) -> None:
    probe.hold()
    async with inline_ms(NO_TIME_MS):
        task = asyncio.create_task(count())
        await happened(probe.entered)
        assert await anames() == []
        await refused(task)
        probe.release()
        assert await task == [EACH]


async def test_a_select_that_is_slow_in_fetching_has_all_its_rows_once(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        assert await rows_of(ROWS) == list(range(1, EACH + 1))
    assert probe.in_worker == EACH


async def test_what_is_quick_starts_no_thread(threads_started: list[str]) -> None:
    async with inline_ms(ALL_TIME_MS):
        await Author.objects.acreate(name="Ann")
        assert await anames() == ["Ann"]
    assert threads_started == []


async def test_a_text_that_proved_slow_begins_in_a_worker(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        await count()
        on_loop = probe.on_loop
        await count()
    assert probe.on_loop == on_loop
    assert probe.in_worker == 2 * EACH


async def test_a_text_that_has_become_quick_runs_inline_again(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        await count()
    async with inline_ms(ALL_TIME_MS):
        await count()
        assert probe.in_worker == 2 * EACH
        on_loop = probe.on_loop
        await count()
    assert probe.in_worker == 2 * EACH
    assert probe.on_loop == on_loop + EACH


async def test_what_one_database_taught_says_nothing_about_another(
    probe: Probe, extra_alias: Callable[..., str], tmp_path: Any
) -> None:
    alias = extra_alias("elsewhere", NAME=tmp_path / "elsewhere.sqlite3")
    async with inline_ms(NO_TIME_MS):
        await count()
    async with inline_ms(ALL_TIME_MS):
        on_loop = probe.on_loop
        await rows_of(COUNT, alias)
    assert probe.on_loop == on_loop + EACH


async def test_without_any_inline_time_each_select_runs_once_in_a_worker(probe: Probe) -> None:
    async with inline_ms(0):
        assert await count() == [EACH]
    assert (probe.on_loop, probe.in_worker) == (0, EACH)


async def test_an_error_in_a_worker_is_the_one_that_the_loop_would_have_seen(
    probe: Probe,
) -> None:
    sql = f"{NUMBERS} SELECT sum(n + 9223372036854775000) FROM numbers"
    said = []
    for milliseconds in (ALL_TIME_MS, 0):
        async with inline_ms(milliseconds):
            with pytest.raises(OperationalError) as raised:
                await rows_of(sql)
        said.append((str(raised.value), type(raised.value.__cause__)))
        await assert_all_back()
    assert said[0] == said[1]


async def test_python_functions_in_a_worker_see_the_context_of_the_task(
    probe: Probe,
) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    variable.set(7)

    def add(connection: Any, **kwargs: Any) -> None:
        connection.connection.create_function("variable", 0, variable.get)

    connection_created.connect(add)
    try:
        async with inline_ms(0):
            assert await rows_of("SELECT variable()") == [7]
    finally:
        connection_created.disconnect(add)


async def test_in_a_thread_a_slow_select_blocks_the_thread_as_ever(probe: Probe) -> None:
    def in_thread() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(COUNT)
            return cursor.fetchall()

    async with inline_ms(NO_TIME_MS), transaction.atomic():
        assert await asyncio.to_thread(in_thread) == [(EACH,)]
    assert probe.in_worker == EACH
    assert not used_worker(probe)


async def test_a_thread_that_is_lent_a_scope_runs_a_slow_select_once(probe: Probe) -> None:
    def in_thread(scope: Scope) -> list[Any]:
        with scope.lend(), connection.cursor() as cursor:
            cursor.execute(COUNT)
            return cursor.fetchall()

    async with inline_ms(NO_TIME_MS):
        scope = current_scope()
        assert scope is not None
        assert await asyncio.to_thread(in_thread, scope) == [(EACH,)]
    assert (probe.on_loop, probe.in_worker) == (0, EACH)
    assert not used_worker(probe)
    await assert_all_back()


async def test_a_progress_handler_of_the_users_own_stays_in_place(probe: Probe) -> None:
    calls: list[int] = []

    def add(connection: Any, **kwargs: Any) -> None:
        connection.connection.set_progress_handler(lambda: calls.append(1), 1000)

    connection_created.connect(add)
    try:
        async with inline_ms(NO_TIME_MS):
            assert await count() == [EACH]
            assert (probe.on_loop, probe.in_worker) == (EACH, 0)
            assert await count() == [EACH]
            assert (probe.on_loop, probe.in_worker) == (EACH, EACH)
    finally:
        connection_created.disconnect(add)
    assert len(calls) > 10


async def test_an_error_of_the_statement_is_no_reason_to_run_it_again(probe: Probe) -> None:
    def interrupt(value: Any) -> Any:
        connection.connection.interrupt()
        return value

    def add(connection: Any, **kwargs: Any) -> None:
        connection.connection.create_function("interrupt", 1, interrupt)

    connection_created.connect(add)
    try:
        async with inline_ms(ALL_TIME_MS):
            with pytest.raises(OperationalError, match="interrupted"):
                await rows_of(f"{NUMBERS} SELECT count(interrupt(probe(n))) FROM numbers")
    finally:
        connection_created.disconnect(add)
    assert probe.in_worker == 0


def test_a_child_process_has_worker_threads_of_its_own() -> None:
    program = (
        "import os\n"
        "from onloop.db.backends.sqlite3.worker import executor\n"
        "executor().submit(int).result(10)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    executor().submit(int).result(10)\n"
        "    os._exit(0)\n"
        "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], timeout=90, check=False
    )
    assert done.returncode == 0


# --- what is not stopped ----------------------------------------------------------------------


async def test_a_select_in_a_transaction_is_not_stopped_and_begins_in_a_worker_next_time(
    probe: Probe,
) -> None:
    async with inline_ms(NO_TIME_MS), transaction.atomic():
        assert await count() == [EACH]
        assert (probe.on_loop, probe.in_worker) == (EACH, 0)
        assert await count() == [EACH]
        assert (probe.on_loop, probe.in_worker) == (EACH, EACH)


async def test_a_write_is_not_stopped_and_begins_in_a_worker_next_time(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        await write()
        assert (probe.on_loop, probe.in_worker) == (EACH, 0)
        await write()
        assert (probe.on_loop, probe.in_worker) == (EACH, EACH)
    assert await Author.objects.acount() == 2 * EACH


async def test_a_write_that_returns_rows_is_not_stopped_either(probe: Probe) -> None:
    async with inline_ms(NO_TIME_MS):
        for _ in range(2):
            assert len(await rows_of(f"{INSERT} RETURNING id")) == EACH
    assert (probe.on_loop, probe.in_worker) == (EACH, EACH)
    assert await Author.objects.acount() == 2 * EACH


async def test_a_slow_statement_of_a_transaction_has_the_turn(probe: Probe) -> None:
    async with inline_ms(0), transaction.atomic():
        probe.hold()
        slow = asyncio.create_task(count())
        await happened(probe.entered)
        quick = asyncio.create_task(anames())
        await refused(quick)
        probe.release()
        assert await slow == [EACH]
        assert await quick == []


async def test_a_write_in_a_worker_belongs_to_its_transaction(probe: Probe) -> None:
    async with inline_ms(0):
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic():
                await write()
                raise ZeroDivisionError
        assert await anames() == []
    assert probe.in_worker == EACH


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("SELECT 1", Kind.READ),
        ("select\n1", Kind.READ),
        ("  -- why\n /* and\nwhy */ SELECT 1", Kind.READ),
        ("SELECT/**/1", Kind.READ),
        ("VALUES (1)", Kind.READ),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Kind.READ),
        ("WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", Kind.WRITE),
        ("with a as (select 1) delete from b", Kind.WRITE),
        ("WITH a AS (SELECT 'update') SELECT * FROM a", Kind.WRITE),
        ("WITH a AS (SELECT replace(x, 1, 2) FROM b) SELECT * FROM a", Kind.WRITE),
        ("INSERT INTO a VALUES (1) RETURNING id", Kind.WRITE),
        ("REPLACE INTO a VALUES (1)", Kind.WRITE),
        ("update a set b = 1", Kind.WRITE),
        ("DELETE FROM a", Kind.WRITE),
        ("-- SELECT\nDELETE FROM a", Kind.WRITE),
        ("/* SELECT */ PRAGMA optimize", Kind.OTHER),
        ("EXPLAIN QUERY PLAN SELECT 1", Kind.OTHER),
        ("PRAGMA journal_mode", Kind.OTHER),
        ("BEGIN IMMEDIATE", Kind.OTHER),
        ("SAVEPOINT a", Kind.OTHER),
        ("CREATE TABLE a AS SELECT 1", Kind.OTHER),
        ("SELECTED", Kind.OTHER),
        ("-- only a comment", Kind.OTHER),
        ("", Kind.OTHER),
        (None, Kind.OTHER),
        (b"SELECT 1", Kind.OTHER),
    ],
)
def test_a_statement_is_what_its_text_surely_says(query: object, kind: Kind) -> None:
    assert kind_of(query) is kind


def test_slow_texts_are_bounded_and_the_oldest_goes_first() -> None:
    texts = SlowTexts(limit=2)
    for text in ("a", "b", "a", "c"):
        texts.add(text)
    assert texts.now == {"a", "c"}


def test_a_text_that_relapses_needs_more_quick_runs_each_time() -> None:
    texts = SlowTexts()
    needed = []
    for _ in range(9):
        texts.add("a")
        runs = 0
        while "a" in texts.now:
            texts.ran("a", quick=True)
            runs += 1
        needed.append(runs)
    assert needed == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_a_slow_run_between_quick_ones_starts_the_count_again() -> None:
    texts = SlowTexts()
    texts.add("a")
    texts.add("a")
    texts.ran("a", quick=True)
    texts.ran("a", quick=False)
    texts.ran("a", quick=True)
    assert "a" in texts.now
    texts.ran("a", quick=True)
    assert "a" not in texts.now


@pytest.mark.parametrize("where", ["autocommit", "block", "worker", "thread"])
async def test_sqlite_looks_at_the_time_often_only_where_it_may_stop(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Each look needs the interpreter's lock, which a busy thread gives up every 5 ms."""
    looks: list[int] = []
    check = Budget.check

    def counting(self: Budget) -> bool:
        looks.append(1)
        return check(self)

    def in_thread() -> None:
        with connection.cursor() as cursor:
            cursor.execute(COUNT)

    monkeypatch.setattr(Budget, "check", counting)
    async with inline_ms(ALL_TIME_MS):
        await count()  # on the connection that the rest gets from the pool
    looks.clear()
    async with inline_ms(0 if where == "worker" else ALL_TIME_MS):
        if where in {"block", "thread"}:
            async with transaction.atomic():
                await (asyncio.to_thread(in_thread) if where == "thread" else count())
        else:
            await count()
    assert (len(looks) > 10) == (where == "autocommit")
