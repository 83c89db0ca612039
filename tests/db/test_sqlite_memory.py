"""SQLite in memory: one connection for all scopes and threads, taken in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, transaction

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .helpers import afetch, anames, fetch, names

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("sqlite")]


@pytest.fixture
def memory(extra_alias: Callable[..., str]) -> Iterator[str]:
    alias = extra_alias("memory", NAME=":memory:")
    with connections[alias].schema_editor() as editor:
        editor.create_model(Author)
    yield alias
    from onloop.db.backends.sqlite3 import base

    base._in_memory.pop((alias, ":memory:")).close()
    base._turns.pop((alias, ":memory:"))


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
