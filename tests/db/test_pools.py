"""Pools of real connections: who borrows when, modes, loops that end, broken back ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import modify_settings

import onloop
from onloop import bridge
from onloop.db.errors import PoolTimeout, TooManyWaiters
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import (
    abackend_pid,
    afetch,
    all_back,
    amake_books,
    anames,
    assert_all_back,
    names,
    pool_stats,
)

pytestmark = pytest.mark.usefixtures("db_clean")


# --- limits -----------------------------------------------------------------------------------


async def test_a_full_pool_raises_with_its_sizes(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("tiny", OPTIONS={"pool": {"max_size": 1, "timeout": 0.05}})
    async with transaction.atomic(using=alias):
        await anames(alias)
        async with onloop.scope():
            with pytest.raises(PoolTimeout, match=r"'tiny'.*size 1 of 1, 0 idle, 0 waiting"):
                await anames(alias)
    await assert_all_back(alias)


async def test_too_many_waiters_are_refused_at_once(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("tiny", OPTIONS={"pool": {"max_size": 1, "max_waiting": 1}})

    async def read() -> list[str]:
        async with onloop.scope():
            return await anames(alias)

    async def one_waits() -> bool:
        return (await pool_stats(alias))["requests_waiting"] == 1

    async with transaction.atomic(using=alias):
        await anames(alias)
        waiting = asyncio.create_task(read())
        await eventually(one_waits)
        with pytest.raises(TooManyWaiters):
            await read()
    assert await waiting == []


@pytest.mark.only_on("postgresql")
async def test_a_pool_never_has_more_back_ends_than_max_size(
    extra_alias: Callable[..., str], gate: Gate
) -> None:
    alias = extra_alias("three", OPTIONS={"pool": {"max_size": 3}})

    async def all_others_wait() -> bool:
        return (await pool_stats(alias))["requests_waiting"] == 27

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(afetch(gate.sql, alias=alias))
        await gate.until_waiting(3)
        await eventually(all_others_wait)
        assert len(gate.waiting()) == 3
        gate.open()
    assert (await pool_stats(alias))["pool_size"] == 3
    await assert_all_back(alias)


# --- borrowing --------------------------------------------------------------------------------


async def test_asking_for_autocommit_does_not_borrow() -> None:
    assert connection.get_autocommit()
    assert connection.connection is None


async def test_an_explicit_ensure_connection_pins_until_close() -> None:
    await bridge.run(connection.ensure_connection)
    pinned = connection.connection
    await anames()
    assert connection.connection is pinned
    await bridge.run(connection.close)
    await anames()
    assert connection.connection is None
    await assert_all_back()


async def test_ensure_connection_pins_a_connection_that_a_cursor_has_borrowed() -> None:
    def work() -> bool:
        with connection.cursor():
            connection.ensure_connection()
        return connection.connection is not None

    assert await bridge.run(work)


async def test_an_explicit_connect_pins_until_the_end_of_the_scope() -> None:
    async with onloop.scope():
        await bridge.run(connection.connect)
        await anames()
        assert connection.connection is not None
    await assert_all_back()


async def test_an_open_cursor_keeps_the_connection_until_it_is_closed() -> None:
    def work() -> list[bool]:
        first = connection.cursor()
        first.execute("SELECT 1")
        second = connection.cursor()
        second.execute("SELECT 2")
        held = [connection.connection is not None]
        second.close()
        held.append(connection.connection is not None)
        assert first.fetchone() == (1,)
        first.close()
        held.append(connection.connection is not None)
        return held

    assert await bridge.run(work) == [True, True, False]
    await assert_all_back()


async def test_a_cursor_that_is_forgotten_gives_its_connection_back_when_it_is_collected() -> (
    None
):
    def work() -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")

    await bridge.run(work)
    gc.collect()
    assert connection.connection is None
    await assert_all_back()


async def test_a_cursor_in_a_cycle_gives_its_connection_back_when_it_is_collected() -> None:
    def work() -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cycle: list[Any] = [cursor]
        cycle.append(cycle)

    await bridge.run(work)
    gc.collect()
    await assert_all_back()


async def test_a_cursor_that_another_thread_collects_takes_nothing_from_under_its_task() -> (
    None
):
    """The task may stand between two lines of `cursor()`, with the connection in its hands."""

    def forget() -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cycle: list[Any] = [cursor]
        cycle.append(cycle)

    def work() -> None:
        forget()
        mine = connection.connection
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()  # the loop stands, as between two lines
        assert connection.connection is mine

    gc.disable()
    try:
        await bridge.run(work)
    finally:
        gc.enable()
    await eventually(lambda: connection.connection is None)
    await assert_all_back()


async def test_cursors_that_another_thread_collects_are_no_longer_counted() -> None:
    """The last one that is open gives the connection back, whoever closed the others."""

    def work() -> None:
        last = connection.cursor()
        cycle: list[Any] = [connection.cursor()]
        cycle.append(cycle)
        del cycle
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
        last.close()
        assert connection.connection is None
        with connection.cursor() as again:  # may have the address of the collected one
            again.execute("SELECT 1")
            bridge.await_(asyncio.sleep(0))  # what the finaliser has left for the loop
            assert connection.connection is not None

    gc.disable()
    try:
        await bridge.run(work)
    finally:
        gc.enable()
    await assert_all_back()


async def test_close_gives_the_connection_back_and_the_next_query_borrows_again() -> None:
    def work() -> list[str]:
        connection.ensure_connection()
        connection.close()
        connection.close()
        return names()

    assert await bridge.run(work) == []
    await assert_all_back()


async def test_close_old_connections_does_no_harm() -> None:
    from django.db import close_old_connections

    await anames()
    await bridge.run(close_old_connections)
    assert await anames() == []
    await assert_all_back()


async def test_a_copy_of_a_wrapper_is_not_pooled() -> None:
    def work() -> int:
        copy = connection.copy()
        try:
            with copy.cursor() as cursor:
                cursor.execute("SELECT 1")
                return connection.pool_stats()["pool_size"]
        finally:
            copy.close()

    assert await bridge.run(work) == 0


async def test_connection_created_is_sent_once_for_each_physical_connection() -> None:
    from django.db.backends.signals import connection_created

    created: list[str] = []

    def note(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        created.append(connection.alias)

    connection_created.connect(note)
    try:
        for _ in range(5):
            await asyncio.create_task(anames())
    finally:
        connection_created.disconnect(note)
    assert created == ["default"]
    await assert_all_back()


# --- iterators --------------------------------------------------------------------------------


async def test_an_aiterator_that_is_read_to_its_end_gives_its_connection_back() -> None:
    await amake_books(count=30)
    seen = [author.name async for author in Author.objects.aiterator(chunk_size=5)]
    assert seen == ["Ann"]
    await assert_all_back()


async def test_an_aiterator_that_is_left_by_break_gives_its_connection_back(
    run_task: Callable[..., Any],
) -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))

    async def work() -> None:
        async for _ in Author.objects.aiterator(chunk_size=5):
            break

    await run_task(work())
    await eventually(all_back)
    assert await Author.objects.acount() == 30


async def test_a_sync_iterator_that_is_left_by_break_gives_its_connection_back() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))

    def work() -> None:
        for _ in Author.objects.iterator(chunk_size=5):
            break

    await bridge.run(work)
    await eventually(all_back)
    assert await Author.objects.acount() == 30


async def test_an_iterator_that_is_left_by_break_in_a_block_leaves_the_block_whole() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))
    async with transaction.atomic():
        async for _ in Author.objects.aiterator(chunk_size=5):
            break
        await Author.objects.acreate(name="after")
    assert await Author.objects.acount() == 31
    await eventually(all_back)


@pytest.mark.only_on("postgresql")
async def test_no_cursor_is_left_at_the_server_by_a_break() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))
    async for _ in Author.objects.aiterator(chunk_size=5):
        break
    await eventually(all_back)
    assert await afetch("SELECT count(*) FROM pg_cursors WHERE is_holdable") == 0


async def test_two_iterators_of_one_task_share_its_connection() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(20))
    first = Author.objects.order_by("id").aiterator(chunk_size=3)
    second = Author.objects.order_by("-id").aiterator(chunk_size=3)
    seen = [((await anext(first)).name, (await anext(second)).name) for _ in range(20)]
    assert seen[0] == ("0", "19")
    for rest in (first, second):
        assert [author async for author in rest] == []
    await assert_all_back()


# --- modes ------------------------------------------------------------------------------------


@pytest.mark.only_on("postgresql")
async def test_session_mode_keeps_one_back_end_for_the_whole_scope(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("session", OPTIONS={"pool": {"mode": "session"}})
    async with onloop.scope():
        await afetch("SET application_name = 'mine'", alias=alias)
        pid = await abackend_pid(alias)
        assert await afetch("SHOW application_name", alias=alias) == "mine"
        assert await abackend_pid(alias) == pid
        assert connections[alias].connection is not None
    await assert_all_back(alias)


async def test_transaction_mode_is_the_default_and_keeps_nothing(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("transaction", OPTIONS={"pool": {"mode": "transaction"}})
    await anames(alias)
    assert connections[alias].connection is None


async def test_with_other_apps_every_connection_is_opened_anew() -> None:
    """Receivers of `connection_created`, as of `django.contrib.postgres`, come with apps."""
    before = await bridge.run(physical)
    with modify_settings(INSTALLED_APPS={"append": "django.contrib.sitemaps"}):
        assert await bridge.run(physical) is not before
    after = await bridge.run(physical)
    assert await bridge.run(physical) is after


def physical() -> Any:
    """The driver's connection that a query uses."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return connection.connection
