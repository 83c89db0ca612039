"""SQLite in memory: one connection for all scopes and threads, taken in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.backends.signals import connection_created

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .helpers import afetch, anames, fetch, names
from .sqlite import Probe, happened, inline_ms, refused, rows_of

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]


async def test_an_in_memory_database_is_one_for_all_scopes(memory: str) -> None:
    async def add(n: int) -> None:
        await Author.objects.using(memory).acreate(name=str(n))

    await asyncio.gather(*(add(n) for n in range(5)))
    async with onloop.scope():
        assert await anames(memory) == ["0", "1", "2", "3", "4"]


async def test_an_in_memory_database_is_shared_with_threads(memory: str) -> None:
    await Author.objects.using(memory).acreate(name="Ann")
    assert await asyncio.to_thread(names, memory) == ["Ann"]


async def test_transactions_of_an_in_memory_database_do_not_mix(memory: str) -> None:
    async def work(n: int) -> None:
        async with transaction.atomic(using=memory):
            await Author.objects.using(memory).acreate(name=str(n))
            await asyncio.sleep(0)
            if n % 2:
                raise ZeroDivisionError

    await asyncio.gather(*(work(n) for n in range(10)), return_exceptions=True)
    assert await anames(memory) == ["0", "2", "4", "6", "8"]


async def test_a_scope_that_ends_leaves_the_in_memory_transaction_of_another_alone(
    memory: str,
) -> None:
    async def short() -> None:
        async with onloop.scope():
            await bridge.run(connections[memory].ensure_connection)

    async with transaction.atomic(using=memory):
        await Author.objects.using(memory).acreate(name="Ann")
        await asyncio.create_task(short())
        await Author.objects.using(memory).acreate(name="Bob")
    assert await anames(memory) == ["Ann", "Bob"]


async def test_an_in_memory_transaction_left_open_is_rolled_back_with_its_scope(
    memory: str,
) -> None:
    async with onloop.scope():
        await transaction.atomic(using=memory).__aenter__()
        await Author.objects.using(memory).acreate(name="Ann")
    assert await anames(memory) == []
    async with transaction.atomic(using=memory):
        await Author.objects.using(memory).acreate(name="Bob")
    assert await anames(memory) == ["Bob"]


async def test_callbacks_of_an_in_memory_transaction_may_gather_queries(memory: str) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.extend(await asyncio.gather(*(anames(memory) for _ in range(3))))

    async with transaction.atomic(using=memory):
        await Author.objects.using(memory).acreate(name="Ann")
        transaction.on_commit(look, using=memory)
    assert seen == [["Ann"]] * 3


async def test_tasks_join_an_in_memory_transaction(memory: str) -> None:
    async with transaction.atomic(using=memory):
        await Author.objects.using(memory).acreate(name="Ann")
        assert await asyncio.gather(anames(memory), anames(memory)) == [["Ann"]] * 2
        assert await afetch("SELECT count(*) FROM library_author", alias=memory) == 1
        assert await asyncio.to_thread(fetch, "SELECT 1", (), memory) == 1


async def test_a_slow_select_in_memory_runs_in_a_worker_and_others_wait_for_their_turn(
    probe: Probe, memory: str
) -> None:
    """They share the connection, and opening one more wrapper must not touch it meanwhile."""
    await Author.objects.using(memory).acreate(name="Ann")
    async with inline_ms(0):
        probe.hold()
        slow = asyncio.create_task(rows_of("SELECT probe(1)", memory))
        await happened(probe.entered)
        other = asyncio.create_task(anames(memory))
        in_thread = asyncio.create_task(asyncio.to_thread(names, memory))
        await refused(other)
        await refused(in_thread)
        assert await anames() == []  # another database, the loop goes on
        probe.release()
        assert await slow == [1]
        assert await other == await in_thread == ["Ann"]


async def test_an_in_memory_connection_is_opened_and_announced_once(
    extra_alias: Callable[..., str],
) -> None:
    from onloop.db.backends.sqlite3 import base

    alias = extra_alias("announced", NAME=":memory:")
    opened = []

    def hear(connection: Any, **kwargs: Any) -> None:
        opened.append(connection.alias)

    connection_created.connect(hear)
    try:
        await asyncio.gather(*(afetch("SELECT 1", alias=alias) for _ in range(3)))
        await asyncio.to_thread(fetch, "SELECT 1", (), alias)
    finally:
        connection_created.disconnect(hear)
        base._in_memory.pop((alias, ":memory:")).close()
        base._turns.pop((alias, ":memory:"))
    assert opened == [alias]


@pytest.fixture
def shared_cache(extra_alias: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """Two aliases, a connection each, on one database in memory."""
    from onloop.db.backends.sqlite3 import base

    name = "file:onloop-tests?mode=memory&cache=shared"
    aliases = extra_alias("one", NAME=name), extra_alias("two", NAME=name)
    with connections[aliases[0]].schema_editor() as editor:
        editor.create_model(Author)
    yield aliases
    for alias in aliases:
        base._in_memory.pop((alias, name)).close()
        base._turns.pop((alias, name), None)


async def test_two_aliases_of_a_shared_cache_wait_for_each_other(
    shared_cache: tuple[str, str],
) -> None:
    """SQLite refuses at once here (SQLITE_LOCKED), whatever its time-out."""

    async def block(alias: str, n: int) -> None:
        async with transaction.atomic(using=alias):
            await Author.objects.using(alias).acreate(name=f"{alias} {n}")
            await asyncio.sleep(0)

    one, two = shared_cache
    await asyncio.gather(
        *(block(alias, n) for alias in shared_cache for n in range(5)),
        *(Author.objects.using(alias).acreate(name=alias) for alias in shared_cache),
    )
    assert await anames(one) == await anames(two)
    assert len(await anames(one)) == 12


async def test_a_read_of_a_shared_cache_waits_for_the_other_aliases_transaction(
    shared_cache: tuple[str, str],
) -> None:
    one, two = shared_cache
    async with transaction.atomic(using=one):
        await Author.objects.using(one).acreate(name="Ann")
        reading = asyncio.create_task(anames_in_own_scope(two))
        await refused(reading)
    assert await reading == ["Ann"]


async def anames_in_own_scope(alias: str) -> list[str]:
    async with onloop.scope():
        return await anames(alias)


async def test_plain_threads_and_tasks_take_turns_in_memory(memory: str) -> None:
    def in_thread(n: int) -> None:
        with transaction.atomic(using=memory):
            Author.objects.using(memory).create(name=f"thread {n}")

    async def in_task(n: int) -> None:
        async with transaction.atomic(using=memory):
            await Author.objects.using(memory).acreate(name=f"task {n}")
            await asyncio.sleep(0)

    await asyncio.gather(
        *(asyncio.to_thread(in_thread, n) for n in range(5)),
        *(in_task(n) for n in range(5)),
    )
    assert await Author.objects.using(memory).acount() == 10


async def test_a_copy_of_the_wrapper_does_not_close_everybodys_connection(memory: str) -> None:
    """Django's tests, and packages that look at features, close ad hoc copies by `_close()`."""
    await Author.objects.using(memory).acreate(name="Ann")

    def look() -> None:
        copy = connections[memory].copy()
        copy.ensure_connection()
        copy._close()

    await bridge.run(look)
    await asyncio.to_thread(look)
    assert await anames(memory) == ["Ann"]


async def test_options_that_are_wrong_are_refused_though_the_connection_is_open(
    memory: str,
) -> None:
    await anames(memory)

    def connect() -> None:
        copy = connections[memory].copy()
        copy.settings_dict["OPTIONS"] = {"transaction_mode": "invalid"}
        copy.connect()

    with pytest.raises(ImproperlyConfigured, match="transaction_mode"):
        await bridge.run(connect)
