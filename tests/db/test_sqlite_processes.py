"""SQLite: several processes with several tasks each write to one file."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from onloop import bridge
from onloop.testing.sweep import cancel_sweep
from tests.database import TestDatabases
from tests.project.library.models import Author

from .helpers import anames, assert_all_back
from .sqlite import OtherProcess, refused

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]

PROCESSES, TASKS, ROUNDS = 3, 5, 8


@pytest.mark.parametrize("mode", ["wal", "journal"])
def test_no_row_of_three_processes_is_lost_or_doubled(
    db_clean: TestDatabases, tmp_path: Path, mode: str
) -> None:
    # A copy: the mode of a file cannot be changed while a server of other tests has it open.
    copied = TestDatabases("sqlite", tmp_path, None)
    with db_clean.file() as original, copied.file() as file:
        original.backup(file)
        file.execute(f"PRAGMA journal_mode = {'WAL' if mode == 'wal' else 'DELETE'}")
        file.execute("INSERT INTO library_tag (id, name) VALUES (1, '0')")
    options: dict[str, Any] = {"timeout": 40}
    if mode == "journal":
        options["init_command"] = "PRAGMA journal_mode; PRAGMA synchronous=OFF"
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.db.sqlite_writer", f"p{n}", str(TASKS), str(ROUNDS)],
            env={
                **os.environ,
                **copied.environment(),
                "ONLOOP_TEST_DATABASE_OPTIONS": json.dumps(options),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=50) for writer in writers]
    each = TASKS * ROUNDS * 5
    assert [(out.strip(), err) for out, err in said] == [(str(each), "")] * PROCESSES
    with copied.file() as file:
        names = [name for (name,) in file.execute("SELECT name FROM library_author")]
        counter = file.execute("SELECT name FROM library_tag").fetchone()[0]
        assert file.execute("PRAGMA journal_mode").fetchone()[0] == (
            "wal" if mode == "wal" else "delete"
        )
    assert len(names) == len(set(names)) == PROCESSES * each
    assert int(counter) == PROCESSES * TASKS * ROUNDS  # no update of the counter was lost


@pytest.fixture
def other_process() -> Any:
    process = OtherProcess(Path(connections.settings["default"]["NAME"]))
    yield process
    process.end()


def many(alias: str, rows: Any) -> None:
    with connections[alias].cursor() as cursor:
        cursor.executemany("INSERT INTO library_author (name) VALUES (%s)", rows)


async def test_executemany_waits_for_another_process_and_goes_on_where_it_was(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    """The other one comes between two rows: what is written is not written again."""
    counts: list[int] = []

    def rows() -> Any:
        for n in range(6):
            if n == 3:
                other_process.execute("BEGIN IMMEDIATE")
            counts.append(n)
            yield (str(n),)

    def work() -> int:
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO library_author (name) VALUES (%s)", rows())
            return cursor.rowcount

    task = asyncio.create_task(bridge.run(work))
    await refused(task)
    other_process.execute("COMMIT")
    assert await task == -1  # nobody knows
    assert await anames() == list("012345")
    assert counts == list(range(6))
    await assert_all_back()


async def test_executemany_without_interruption_counts_its_rows() -> None:
    def work() -> int:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO library_author (name) VALUES (%(name)s)",
                [{"name": str(n)} for n in range(4)],
            )
            return cursor.rowcount

    assert await bridge.run(work) == 4


async def test_executemany_that_is_cancelled_while_it_waits_keeps_what_it_has_written(
    other_process: OtherProcess,
) -> None:
    def rows() -> Any:
        yield ("0",)
        other_process.execute("BEGIN IMMEDIATE")
        yield ("1",)

    task = asyncio.create_task(bridge.run(many, "default", rows()))
    await refused(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other_process.execute("COMMIT")
    assert await anames() == ["0"]
    await assert_all_back()


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE", "DEFERRED"])
async def test_a_block_of_any_mode_that_begins_with_a_write_waits_for_another_process(
    other_process: OtherProcess, extra_alias: Callable[..., str], mode: str
) -> None:
    """That of a deferred one comes after BEGIN, inside the transaction."""
    alias = extra_alias("mode", OPTIONS={"transaction_mode": mode})

    async def work() -> None:
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Ann")

    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(work())
    await refused(task)
    other_process.execute("COMMIT")
    await task
    assert await anames() == ["Ann"]
    await assert_all_back(alias)


async def test_executemany_inside_a_deferred_block_waits_for_another_process(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias("deferred", OPTIONS={"transaction_mode": "DEFERRED"})

    async def work() -> None:
        async with transaction.atomic(using=alias):
            await bridge.run(many, alias, [("Ann",), ("Bob",)])

    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(work())
    await refused(task)
    other_process.execute("COMMIT")
    await task
    assert await anames() == ["Ann", "Bob"]
    await assert_all_back(alias)


async def test_a_deferred_block_that_read_before_others_wrote_cannot_write(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    """It cannot be retried either: SQLITE_BUSY_SNAPSHOT is final, and told at once."""
    alias = extra_alias("deferred", OPTIONS={"transaction_mode": "DEFERRED", "timeout": 60})
    with pytest.raises(OperationalError, match="database is locked"):
        async with transaction.atomic(using=alias):
            assert await anames(alias) == []
            other_process.execute("INSERT INTO library_author (name) VALUES ('other')")
            await Author.objects.using(alias).acreate(name="Ann")
    assert await anames(alias) == ["other"]
    await assert_all_back(alias)


async def test_a_write_inside_a_deferred_block_raises_at_the_deadline(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias("deferred", OPTIONS={"transaction_mode": "DEFERRED", "timeout": 0.05})
    other_process.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match=r"^database is locked$"):
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Ann")
    other_process.execute("COMMIT")
    await assert_all_back(alias)


async def test_a_write_inside_a_deferred_block_can_be_cancelled_while_it_waits(
    other_process: OtherProcess, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias("deferred", OPTIONS={"transaction_mode": "DEFERRED"})

    async def work() -> None:
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name="Ann")

    other_process.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(work())
    await refused(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other_process.execute("COMMIT")
    assert await anames() == []
    await assert_all_back(alias)


@pytest.mark.parametrize("kind", ["autocommit", "block", "executemany"])
async def test_nothing_is_left_wherever_a_task_is_cancelled_that_waits_for_another_process(
    other_process: OtherProcess, kind: str
) -> None:
    async def release() -> None:
        for _ in range(3):
            await asyncio.sleep(0.002)
        other_process.execute("COMMIT")

    async def scenario() -> None:
        if kind == "executemany":
            await bridge.run(many, "default", [("Ann",), ("Bob",)])
        elif kind == "autocommit":
            await Author.objects.abulk_create([Author(name="Ann"), Author(name="Bob")])
        else:
            async with transaction.atomic():
                await Author.objects.acreate(name="Ann")
                await Author.objects.acreate(name="Bob")

    releasing: list[asyncio.Task[None]] = []

    def lock() -> None:
        other_process.execute("BEGIN IMMEDIATE")
        releasing.append(asyncio.create_task(release()))

    async def check(outcome: Any) -> None:
        await releasing.pop()
        await assert_all_back()
        assert len(await anames()) in ({0, 1, 2} if kind == "executemany" else {0, 2})
        await Author.objects.all().adelete()

    report = await cancel_sweep(scenario, prepare=lock, check=check)
    assert report.waits > 0
