"""PostgreSQL: server-side cursors, by `iterator()`, `aiterator()` and by hand."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import abackend_pid, afetch, all_back, anames, assert_all_back, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

ROWS = 25


@pytest.fixture(params=[False, True], ids=["bound by the client", "bound by the server"])
def alias(request: pytest.FixtureRequest, extra_alias: Callable[..., str]) -> str:
    return extra_alias(
        "bound", OPTIONS={"server_side_binding": request.param, "pool": {"max_size": 1}}
    )


@pytest.fixture(autouse=True)
async def _rows(db_clean: Any) -> None:
    await Author.objects.abulk_create(Author(name=f"{n:02}") for n in range(ROWS))


def authors(alias: str) -> Any:
    return Author.objects.using(alias).filter(name__lt="99").order_by("name")


async def open_cursors(alias: str) -> int:
    return await afetch("SELECT count(*) FROM pg_cursors WHERE name <> ''", alias=alias)


async def assert_clean(alias: str) -> None:
    await eventually(lambda: all_back(alias), "the return of the connection")
    assert await open_cursors(alias) == 0
    await assert_all_back(alias)


# --- read to the end --------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 7, ROWS, 1000])
async def test_all_rows_come_in_their_order(alias: str, chunk_size: int) -> None:
    expected = [f"{n:02}" for n in range(ROWS)]

    def work() -> list[str]:
        return [author.name for author in authors(alias).iterator(chunk_size=chunk_size)]

    pid = await abackend_pid(alias)
    async with transaction.atomic(using=alias):
        assert await bridge.run(work) == expected
        assert [a.name async for a in authors(alias).aiterator(chunk_size)] == expected
    assert await bridge.run(work) == expected
    assert [a.name async for a in authors(alias).aiterator(chunk_size)] == expected
    assert await abackend_pid(alias) == pid  # a cursor that was closed costs no connection
    await assert_clean(alias)


async def test_rows_are_fetched_in_chunks_and_not_all_at_once(alias: str) -> None:
    async with transaction.atomic(using=alias):
        rows = authors(alias).aiterator(chunk_size=5)
        await anext(rows)
        assert await open_cursors(alias) == 1
        await rows.aclose()
    await assert_clean(alias)


async def test_outside_of_a_block_the_connection_is_kept_while_rows_are_left(
    alias: str,
) -> None:
    rows = authors(alias).aiterator(chunk_size=5)
    await anext(rows)
    assert not await all_back(alias)
    assert [author.name async for author in rows][-1] == f"{ROWS - 1:02}"
    await assert_clean(alias)


async def test_prefetched_relations_come_with_the_chunks(alias: str) -> None:
    rows = authors(alias).prefetch_related("books").aiterator(chunk_size=10)
    counts = [len(author.books.all()) async for author in rows]
    assert counts == [0] * ROWS
    await assert_clean(alias)


async def test_two_iterators_at_once_in_a_block_do_not_mix(alias: str) -> None:
    async with transaction.atomic(using=alias):
        one = authors(alias).aiterator(chunk_size=2)
        two = authors(alias).reverse().aiterator(chunk_size=3)
        pairs = [(first.name, (await anext(two)).name) async for first in one]
        await two.aclose()
    assert pairs == [(f"{n:02}", f"{ROWS - 1 - n:02}") for n in range(ROWS)]
    await assert_clean(alias)


async def test_statements_may_run_between_two_rows(alias: str) -> None:
    async with transaction.atomic(using=alias):
        async for author in authors(alias).aiterator(chunk_size=4):
            await authors(alias).filter(pk=author.pk).aupdate(name=f"{author.name}!")
    assert all(name.endswith("!") for name in await anames())
    await assert_clean(alias)


# --- left early -------------------------------------------------------------------------------


async def test_break_gives_everything_back(alias: str) -> None:
    async for _ in authors(alias).aiterator(chunk_size=3):
        break
    await assert_clean(alias)


async def test_break_in_a_block_leaves_the_block_whole(alias: str) -> None:
    async with transaction.atomic(using=alias):
        async for _ in authors(alias).aiterator(chunk_size=3):
            break
        await Author.objects.using(alias).acreate(name="after")
    assert "after" in await anames()
    await assert_clean(alias)


async def test_an_error_of_the_loops_body_gives_everything_back(alias: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in authors(alias).aiterator(chunk_size=3):
            raise ZeroDivisionError
    await assert_clean(alias)


async def test_an_error_of_the_server_in_mid_iteration_gives_everything_back(
    alias: str,
) -> None:
    def work() -> None:
        with connections[alias].chunked_cursor() as cursor:
            cursor.execute("SELECT 1 / (7 - n) FROM generate_series(1, 20) AS n")
            while cursor.fetchmany(2):
                pass

    with pytest.raises(Exception, match="division by zero"):
        async with transaction.atomic(using=alias):
            await bridge.run(work)
    await assert_clean(alias)


async def test_an_iterator_that_is_forgotten_is_closed_by_the_collector(alias: str) -> None:
    async def begin() -> None:
        rows = authors(alias).aiterator(chunk_size=3)
        await anext(rows)
        cycle: list[Any] = [rows]
        cycle.append(cycle)

    await begin()
    gc.collect()
    await assert_clean(alias)


async def test_a_cancel_between_two_chunks_gives_everything_back(alias: str) -> None:
    reached = asyncio.Event()

    async def work() -> None:
        async for _ in authors(alias).aiterator(chunk_size=3):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_clean(alias)


async def test_a_scope_that_ends_with_rows_left_gives_everything_back(alias: str) -> None:
    rows = None
    async with onloop.scope():
        rows = authors(alias).aiterator(chunk_size=3)
        await anext(rows)
    await assert_clean(alias)
    with pytest.raises(Exception, match="closed"):
        [author async for author in rows]


# --- by hand ----------------------------------------------------------------------------------


async def test_a_chunked_cursor_by_hand_holds_until_it_is_closed(alias: str) -> None:
    def work() -> list[int]:
        with connections[alias].chunked_cursor() as cursor:
            cursor.execute("SELECT generate_series(1, %s)", [10])
            first = cursor.fetchmany(4)
            assert fetch("SELECT count(*) FROM pg_cursors WHERE name <> ''", alias=alias) == 1
            cursor.cursor.scroll(2)
            return [row[0] for row in [*first, *cursor.fetchall()]]

    assert await bridge.run(work) == [1, 2, 3, 4, 7, 8, 9, 10]
    await assert_clean(alias)


async def test_a_chunked_cursor_that_is_never_executed_does_no_harm(alias: str) -> None:
    def work() -> None:
        with connections[alias].chunked_cursor():
            pass

    await bridge.run(work)
    await assert_clean(alias)


async def test_a_named_cursor_of_psycopgs_own_connection_ends_with_the_block(
    alias: str,
) -> None:
    def work() -> int:
        with transaction.atomic(using=alias):
            raw: Any = connections[alias].connection
            with raw.cursor("mine") as cursor:
                cursor.execute("SELECT generate_series(1, 10)")
                return len(cursor.fetchmany(4))

    assert await bridge.run(work) == 4
    await assert_clean(alias)


async def test_without_server_side_cursors_nothing_is_declared(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("bouncer", DISABLE_SERVER_SIDE_CURSORS=True)
    async with transaction.atomic(using=alias):
        rows = authors(alias).aiterator(chunk_size=5)
        await anext(rows)
        assert await open_cursors(alias) == 0
        await rows.aclose()
    await assert_all_back(alias)
