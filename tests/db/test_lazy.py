"""Implicit queries in async code: they work inside of a bridge, and are refused outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.template import engines

import onloop
from onloop import bridge
from tests.project.library.models import Author, Book

from .helpers import amake_books, assert_all_back

pytestmark = pytest.mark.usefixtures("db_clean")


async def in_scope(coro: Any) -> Any:
    async with onloop.scope():
        return await asyncio.create_task(coro)


async def lazy_relation() -> list[str]:
    book = await Book.objects.afirst()
    return [book.author.name]


async def plain_loop() -> list[str]:
    return [book.title for book in Book.objects.filter(price=0)]


async def plain_list() -> list[str]:
    return [book.title for book in list(Book.objects.filter(price=0))]


async def truth() -> list[str]:
    return ["yes"] if Book.objects.all() and len(Book.objects.all()) else []


async def index() -> list[str]:
    return [Book.objects.all()[0].title]


async def sync_method() -> list[str]:
    return [Book.objects.get(price=0).title]


async def related_set() -> list[str]:
    author = await Author.objects.afirst()
    return [book.title for book in author.books.all()]


async def deferred_field() -> list[str]:
    book = await Book.objects.only("price").afirst()
    return [book.title]


async def template() -> list[str]:
    source = "{% for book in books %}{{ book.title }} by {{ book.author }}{% endfor %}"
    page = engines["django"].from_string(source)
    return [page.render({"books": Book.objects.all()})]


EVERY_WAY = {
    lazy_relation: ["Ann"],
    plain_loop: ["Ann 0"],
    plain_list: ["Ann 0"],
    truth: ["yes"],
    index: ["Ann 0"],
    sync_method: ["Ann 0"],
    related_set: ["Ann 0"],
    deferred_field: ["Ann 0"],
    template: ["Ann 0 by Ann"],
}
every_way = pytest.mark.parametrize("way", EVERY_WAY, ids=lambda way: way.__name__)


@every_way
async def test_it_works_in_a_task_of_a_scope(way: Any) -> None:
    await amake_books()
    assert await in_scope(way()) == EVERY_WAY[way]
    await assert_all_back()


@every_way
async def test_it_works_in_a_coroutine_that_is_run_in_a_bridge(way: Any) -> None:
    await amake_books()
    assert await bridge.run(bridge.await_, way()) == EVERY_WAY[way]


@every_way
async def test_it_works_in_many_tasks_at_once(way: Any) -> None:
    await amake_books()
    async with onloop.scope():
        found = await asyncio.gather(*(way() for _ in range(8)))
    assert found == [EVERY_WAY[way]] * 8


@every_way
async def test_it_is_refused_outside_of_a_bridge_saying_what_to_do(way: Any) -> None:
    await amake_books()
    with pytest.raises(SynchronousOnlyOperation, match=r"`a` methods.*onloop\.scope\(\)"):
        await way()
    await assert_all_back()


@pytest.mark.parametrize("method", ["cursor", "connect", "ensure_connection"])
async def test_a_connection_is_not_opened_outside_of_a_bridge(method: str) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="outside a bridge"):
        getattr(connection, method)()


async def test_lazy_relations_in_gathered_tasks_of_nested_tasks() -> None:
    await amake_books("Ann", 3)

    async def author_of(pk: int) -> str:
        book = await Book.objects.aget(pk=pk)
        return await asyncio.wait_for(name_of(book), 10)

    async def name_of(book: Book) -> str:
        return book.author.name

    async with onloop.scope():
        pks = [book.pk async for book in Book.objects.all()]
        assert await asyncio.gather(*(author_of(pk) for pk in pks)) == ["Ann"] * 3
