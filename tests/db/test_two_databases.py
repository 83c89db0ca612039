"""Several aliases: blocks that interleave, routers, unknown names, engines not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings
from django.utils.connection import ConnectionDoesNotExist

import onloop
from onloop import bridge
from tests.project.library.models import Author, Book

from .helpers import PUBLISHED, afetch, anames, assert_all_back, fetch, names

pytestmark = pytest.mark.usefixtures("db_clean")


def make(name: str, alias: str = "default") -> Any:
    return Author.objects.using(alias).acreate(name=name)


# --- blocks that interleave -------------------------------------------------------------------


async def test_a_block_may_end_before_the_one_on_another_database_that_began_later() -> None:
    first, second = transaction.atomic(), transaction.atomic(using="other")
    await first.__aenter__()
    await make("first")
    await second.__aenter__()
    await make("second", "other")
    await first.__aexit__(None, None, None)
    assert not connections["default"].in_atomic_block
    await make("after the first")
    assert connections["other"].in_atomic_block
    transaction.set_rollback(True, using="other")
    await second.__aexit__(None, None, None)
    assert not connections["other"].in_atomic_block
    assert await anames() == ["after the first", "first"]
    assert await anames("other") == []
    await assert_all_back()
    await assert_all_back("other")


async def test_a_child_made_between_two_blocks_belongs_to_the_one_that_was_open() -> None:
    first, second = transaction.atomic(), transaction.atomic(using="other")
    look = asyncio.Event()

    async def child() -> tuple[bool, bool]:
        await look.wait()
        return tuple(connections[alias].in_atomic_block for alias in ("default", "other"))

    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    task = asyncio.create_task(child())
    look.set()
    assert await task == (False, True)
    await second.__aexit__(None, None, None)


async def test_blocks_that_an_exit_stack_pops_out_of_order_end_as_they_are_left() -> None:
    async with AsyncExitStack() as outer:
        async with AsyncExitStack() as inner:
            await inner.enter_async_context(transaction.atomic())
            await outer.enter_async_context(transaction.atomic(using="other"))
            await make("default")
            await make("other", "other")
        assert not connection.in_atomic_block
        assert await anames() == ["default"]
    assert await anames("other") == ["other"]


async def test_a_callback_of_one_database_runs_when_that_one_commits() -> None:
    ran: list[str] = []
    first, second = transaction.atomic(), transaction.atomic(using="other")
    await first.__aenter__()
    await second.__aenter__()
    for alias in ("default", "other"):
        connections[alias].on_commit(lambda alias=alias: ran.append(alias))
    await first.__aexit__(None, None, None)
    assert ran == ["default"]
    await second.__aexit__(None, None, None)
    assert ran == ["default", "other"]


async def test_an_error_in_the_inner_block_of_one_database_leaves_the_others_alone() -> None:
    async with transaction.atomic(using="other"):
        await make("stays", "other")
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic():
                await make("goes")
                raise ZeroDivisionError
        assert not transaction.get_rollback(using="other")
    assert await anames() == []
    assert await anames("other") == ["stays"]


async def test_gathered_tasks_with_blocks_on_both_databases_do_not_wait_for_each_other() -> (
    None
):
    both = asyncio.Barrier(2)

    async def work(alias: str) -> None:
        async with transaction.atomic(using=alias):
            await make(alias, alias)
            await both.wait()

    await asyncio.gather(work("default"), work("other"))
    assert (await anames(), await anames("other")) == (["default"], ["other"])


# --- routers ----------------------------------------------------------------------------------


class ReadFromOther:
    """A replica to read from, and a primary to write to."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "other"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *objects: Any, **hints: Any) -> bool:
        return True


@pytest.fixture
def read_from_other() -> Iterator[None]:
    with override_settings(DATABASE_ROUTERS=[ReadFromOther()]):
        yield


@pytest.mark.usefixtures("read_from_other")
async def test_reads_go_to_the_replica_and_writes_into_the_block() -> None:
    await Author.objects.using("other").acreate(name="on the replica")
    async with transaction.atomic():
        await Author.objects.acreate(name="on the primary")
        seen = await asyncio.gather(anames_routed(), anames_routed())
        assert seen == [["on the replica"]] * 2
        assert await anames() == ["on the primary"]
        transaction.set_rollback(True)
    assert await anames() == []


async def anames_routed() -> list[str]:
    return [author.name async for author in Author.objects.order_by("name")]


@pytest.mark.usefixtures("read_from_other")
async def test_the_replica_may_be_read_from_in_parallel_while_a_block_is_open() -> None:
    async with transaction.atomic():
        wrappers = await asyncio.gather(*(_wrapper("other") for _ in range(3)))
        assert len({id(one) for one in wrappers}) == 3


async def _wrapper(alias: str) -> Any:
    return connections[alias]


@pytest.mark.usefixtures("read_from_other")
async def test_a_router_allows_a_relation_across_databases() -> None:
    author = await Author.objects.using("other").aget_or_create(name="Ann")
    book = Book(author=author[0], title="One", published=PUBLISHED)
    assert book.author.name == "Ann"


async def test_without_a_router_a_relation_across_databases_is_refused() -> None:
    author = await Author.objects.using("other").acreate(name="Ann")
    book = await bridge.run(_book)
    with pytest.raises(ValueError, match="router prevents this relation"):
        book.author = author


def _book() -> Book:
    author = Author.objects.create(name="Bob")
    return Book.objects.create(author=author, title="One", published=PUBLISHED)


# --- names ------------------------------------------------------------------------------------


async def test_an_unknown_alias_is_djangos_own_error_everywhere() -> None:
    with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
        connections["nowhere"]
    with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
        async with transaction.atomic(using="nowhere"):
            pass
    async with transaction.atomic():
        with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
            await Author.objects.using("nowhere").acount()
        await make("Ann")
    async with onloop.scope():
        with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
            connections["nowhere"]
    assert await anames() == ["Ann"]


async def test_all_wrappers_of_a_scope_are_its_own() -> None:
    mine = connections.all()
    async with onloop.scope():
        theirs = connections.all()
    assert {one.alias for one in mine} >= {"default", "other"}
    assert not {id(one) for one in mine} & {id(one) for one in theirs}


async def test_a_wrapper_that_is_deleted_is_made_anew() -> None:
    connections.create_connection("default")
    first = connections["default"]
    del connections["default"]
    assert connections["default"] is not first


# --- engines that are not ours ----------------------------------------------------------------


@pytest.fixture
def foreign(extra_alias: Callable[..., str], tmp_path: Path) -> str:
    """An alias of Django's own SQLite engine."""
    alias = extra_alias(
        "foreign",
        ENGINE="django.db.backends.sqlite3",
        NAME=str(tmp_path / "foreign.sqlite3"),
        OPTIONS={},
    )
    fetch("CREATE TABLE thing (name text)", alias=alias)
    connections[alias].close()
    return alias


def insert(name: str, alias: str) -> None:
    fetch("INSERT INTO thing VALUES (%s)", [name], alias)


def count(alias: str) -> int:
    return fetch("SELECT count(*) FROM thing", alias=alias)


async def test_a_foreign_engine_works_in_tasks_scopes_and_blocks(
    foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(n: int) -> None:
        async with transaction.atomic(using=foreign):
            await bridge.run(insert, str(n), foreign)

    for n in range(3):
        await asyncio.create_task(work(n))
    async with onloop.scope():
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic(using=foreign):
                await bridge.run(insert, "goes", foreign)
                raise ZeroDivisionError
        assert await bridge.run(count, foreign) == 3
    await asyncio.sleep(0)
    assert caplog.text == ""  # every connection could be closed


async def test_a_foreign_engines_wrappers_are_closed_with_their_scope(foreign: str) -> None:
    async def work() -> Any:
        await bridge.run(count, foreign)
        return connections[foreign]

    for wrapper in (await asyncio.create_task(work()), await _in_scope(work)):
        await asyncio.sleep(0)
        assert wrapper.connection is None


async def _in_scope(work: Callable[[], Any]) -> Any:
    async with onloop.scope():
        return await work()


async def test_a_foreign_block_beside_one_of_ours_ends_apart_from_it(foreign: str) -> None:
    async with transaction.atomic():
        await make("stays")
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic(using=foreign):
                await bridge.run(insert, "goes", foreign)
                raise ZeroDivisionError
    assert await anames() == ["stays"]
    assert await bridge.run(count, foreign) == 0


async def test_savepoints_of_a_foreign_engine_work(foreign: str) -> None:
    async with transaction.atomic(using=foreign):
        await bridge.run(insert, "stays", foreign)
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic(using=foreign):
                await bridge.run(insert, "goes", foreign)
                raise ZeroDivisionError
    assert await bridge.run(count, foreign) == 1


async def test_callbacks_of_a_foreign_engine_run_sync_ones(foreign: str) -> None:
    ran: list[str] = []
    async with transaction.atomic(using=foreign):
        transaction.on_commit(lambda: ran.append("ran"), using=foreign)
        assert ran == []
    assert ran == ["ran"]


# --- closing ----------------------------------------------------------------------------------


async def test_close_all_in_a_scope_closes_what_the_scope_has_and_no_more() -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def other_task() -> list[str]:
        async with transaction.atomic():
            await make("of the other")
            inside.set()
            await go_on.wait()
            return await anames()

    task = asyncio.create_task(other_task())
    await inside.wait()
    async with onloop.scope():
        await bridge.run(connection.ensure_connection)
        await bridge.run(connections.close_all)
        assert connection.connection is None
    go_on.set()
    assert await task == ["of the other"]
    await assert_all_back()


async def test_close_in_a_block_ends_it_as_django_has_it() -> None:
    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="goes")
            connection.close()
            with pytest.raises(DatabaseError):
                names()

    await bridge.run(work)
    assert not connection.in_atomic_block
    async with transaction.atomic():
        await make("stays")
    assert await anames() == ["stays"]
    await assert_all_back()


async def test_close_all_in_a_block_ends_the_blocks_of_both_databases() -> None:
    async with transaction.atomic(), transaction.atomic(using="other"):
        await make("goes")
        await make("goes", "other")
        await bridge.run(connections.close_all)
    assert await anames() == await anames("other") == []
    await assert_all_back()
    await assert_all_back("other")


async def test_close_all_outside_of_a_block_does_no_harm_to_a_thread_that_joined_one() -> None:
    async with transaction.atomic():
        await make("Ann")

        async def outside() -> None:
            async with onloop.scope():
                await bridge.run(connections.close_all)

        await asyncio.create_task(outside())
        assert await asyncio.to_thread(names) == ["Ann"]


async def test_using_reaches_the_right_database_in_each_form() -> None:
    @transaction.atomic(using="other")
    async def decorated() -> None:
        await make("decorated", "other")

    @transaction.atomic("other")
    def decorated_sync() -> None:
        Author.objects.using("other").create(name="sync")

    await decorated()
    await bridge.run(decorated_sync)
    async with transaction.atomic("other"):
        await make("block", "other")
        transaction.on_commit(lambda: None, using="other")
        assert transaction.get_rollback(using="other") is False
    assert await anames() == []
    assert await anames("other") == ["block", "decorated", "sync"]
    assert await afetch("SELECT count(*) FROM library_author", alias="other") == 3
