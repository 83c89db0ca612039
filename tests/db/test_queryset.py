"""Every `a` method of QuerySets, managers and models, on the loop's own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import Avg, Count, F, Max, Q
from django.db.models.signals import post_save

from tests.project.library.models import Author, Book, Tag

from .helpers import PUBLISHED, amake_books


async def title(found: Any) -> str:
    return (await found).title


async def titles(found: Any) -> list[str]:
    return [book.title for book in await found]


async def akeys(found: Any) -> set[Any]:
    return set(await found)


async def collect(rows: Any) -> list[Any]:
    return [row async for row in rows]


async def acontains() -> bool:
    return await Book.objects.acontains(await Book.objects.aget(title="A1"))


async def alist_related() -> list[str]:
    ann = await Author.objects.aget(name="Ann")
    return [book.title for book in await ann.books.alist()]


# Each is one expression; what it gives must equal what stands beside it.
QUERIES: dict[str, tuple[Callable[[], Any], Any]] = {
    "aget": (lambda: title(Book.objects.aget(title="A1")), "A1"),
    "acount": (Book.objects.acount, 3),
    "aexists": (lambda: Book.objects.filter(price__gt=9).aexists(), False),
    "acontains": (acontains, True),
    "afirst": (lambda: title(Book.objects.afirst()), "A1"),
    "afirst of none": (lambda: Book.objects.none().afirst(), None),
    "alast": (lambda: title(Book.objects.alast()), "B1"),
    "aearliest": (lambda: title(Book.objects.aearliest("price")), "A1"),
    "alatest": (lambda: title(Book.objects.alatest("price")), "B1"),
    "ain_bulk": (
        lambda: akeys(Tag.objects.ain_bulk(["red", "blue"], field_name="name")),
        {"red", "blue"},
    ),
    "aaggregate": (
        lambda: Book.objects.aaggregate(Max("price"), Avg("price")),
        {"price__max": Decimal(3), "price__avg": Decimal(2)},
    ),
    "aupdate": (lambda: Book.objects.aupdate(price=F("price") + 1), 3),
    "adelete": (
        lambda: Book.objects.filter(title="B1").adelete(),
        (1, {"library.Book": 1}),
    ),
    "alist": (lambda: titles(Book.objects.order_by("-price").alist()), ["B1", "A2", "A1"]),
    "alist of a manager": (lambda: titles(Book.objects.alist()), ["A1", "A2", "B1"]),
    "alist of a related manager": (alist_related, ["A1", "A2"]),
    "alist of a slice": (lambda: titles(Book.objects.all()[1:2].alist()), ["A2"]),
    "alist of values": (
        lambda: Book.objects.values_list("title", flat=True).alist(),
        ["A1", "A2", "B1"],
    ),
    "async for": (lambda: titles(collect(Book.objects.all())), ["A1", "A2", "B1"]),
    "a slice": (lambda: titles(collect(Book.objects.all()[:2])), ["A1", "A2"]),
    "aiterator": (
        lambda: titles(collect(Book.objects.aiterator(chunk_size=2))),
        ["A1", "A2", "B1"],
    ),
    "values": (
        lambda: collect(Book.objects.values("title").order_by("-title")),
        [{"title": "B1"}, {"title": "A2"}, {"title": "A1"}],
    ),
    "values_list": (
        lambda: collect(Book.objects.values_list("title", "author__name")),
        [("A1", "Ann"), ("A2", "Ann"), ("B1", "Bob")],
    ),
    "dates": (
        lambda: collect(Book.objects.dates("published", "year")),
        [PUBLISHED.replace(1999, 1, 1)],
    ),
    "annotate": (
        lambda: collect(
            Author.objects.annotate(n=Count("books")).values_list("name", "n").order_by("name")
        ),
        [("Ann", 2), ("Bob", 1)],
    ),
    "union": (
        lambda: Tag.objects.filter(name="red").union(Tag.objects.filter(name="blue")).acount(),
        2,
    ),
    "a query with Q": (lambda: Book.objects.filter(Q(title="A1") | Q(price=3)).acount(), 2),
    "raw": (
        lambda: titles(collect(Book.objects.raw("SELECT * FROM library_book ORDER BY price"))),
        ["A1", "A2", "B1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_gives_what_it_should_also_beside_others(name: str, shelf: Any) -> None:
    query, expected = QUERIES[name]

    async def gathered() -> list[Any]:
        others = (Author.objects.aget(name="Ann") for _ in range(3))
        found, *rest = await asyncio.gather(query(), *others)
        assert [author.name for author in rest] == ["Ann"] * 3
        return found

    assert await shelf(gathered()) == expected


# --- rows -------------------------------------------------------------------------------------


async def test_acreate_aget_or_create_and_aupdate_or_create(shelf: Any) -> None:
    async def work() -> None:
        tag, created = await Tag.objects.aget_or_create(name="new")
        assert created
        again, created = await Tag.objects.aget_or_create(name="new")
        assert (again, created) == (tag, False)
        book, created = await Book.objects.aupdate_or_create(title="A1", defaults={"price": 9})
        assert (book.price, created) == (9, False)
        author = await Author.objects.aget(name="Ann")
        book, created = await Book.objects.aupdate_or_create(
            title="A3", author=author, create_defaults={"published": PUBLISHED}, defaults={}
        )
        assert created

    await shelf(work())


async def test_many_who_get_or_create_the_same_row_end_up_with_one(shelf: Any) -> None:
    async def work() -> None:
        found = await asyncio.gather(
            *(Tag.objects.aget_or_create(name="shared") for _ in range(10))
        )
        assert len({tag.pk for tag, _ in found}) == 1
        assert sum(created for _, created in found) == 1

    await shelf(work())


async def test_abulk_create_and_abulk_update(shelf: Any) -> None:
    async def work() -> None:
        tags = await Tag.objects.abulk_create(
            [Tag(name=str(n)) for n in range(50)], batch_size=20
        )
        for tag in tags:
            tag.name += "!"
        assert await Tag.objects.abulk_update(tags, ["name"], batch_size=20) == 50
        assert await Tag.objects.filter(name__endswith="!").acount() == 50
        await Tag.objects.abulk_create([Tag(name="0!")], ignore_conflicts=True)
        assert await Tag.objects.filter(name="0!").acount() == 1

    await shelf(work())


async def test_asave_adelete_and_arefresh_from_db(shelf: Any) -> None:
    async def work() -> None:
        book = await Book.objects.aget(title="A1")
        book.price = Decimal(8)
        await book.asave(update_fields=["price"])
        same = await Book.objects.aget(pk=book.pk)
        await Book.objects.filter(pk=book.pk).aupdate(title="A1b")
        await same.arefresh_from_db(fields=["title"])
        assert (same.title, same.price) == ("A1b", 8)
        await same.adelete()
        assert not await Book.objects.filter(pk=book.pk).aexists()

    await shelf(work())


async def test_errors_are_djangos_own(shelf: Any) -> None:
    async def work() -> None:
        with pytest.raises(Book.DoesNotExist):
            await Book.objects.aget(title="none")
        with pytest.raises(Book.MultipleObjectsReturned):
            await Book.objects.aget(author__name="Ann")
        with pytest.raises(IntegrityError):
            await Author.objects.acreate(name="Ann")
        with pytest.raises(TypeError, match="limit"):
            await Book.objects.all()[:1].adelete()

    await shelf(work())


async def test_aexplain_tells_the_plan(shelf: Any) -> None:
    assert "library_book" in (await shelf(Book.objects.aexplain())).lower()


# --- signals ----------------------------------------------------------------------------------


async def test_receivers_of_signals_run_on_the_loops_thread(shelf: Any) -> None:
    seen: list[tuple[str, int]] = []

    def saved(instance: Any, **kwargs: Any) -> None:
        seen.append(("sync", threading.get_ident()))
        assert Tag.objects.filter(pk=instance.pk).exists()

    async def asaved(instance: Any, **kwargs: Any) -> None:
        assert await Tag.objects.filter(pk=instance.pk).aexists()
        seen.append(("async", threading.get_ident()))

    post_save.connect(saved, sender=Tag)
    post_save.connect(asaved, sender=Tag)
    try:
        await shelf(Tag.objects.acreate(name="green"))
    finally:
        post_save.disconnect(saved, sender=Tag)
        post_save.disconnect(asaved, sender=Tag)
    here = threading.get_ident()
    assert sorted(seen) == [("async", here), ("sync", here)]


async def test_statements_run_on_the_loops_thread(shelf: Any) -> None:
    threads: set[int] = set()

    def note(execute: Any, *args: Any) -> Any:
        threads.add(threading.get_ident())
        return execute(*args)

    async def work() -> None:
        with connection.execute_wrapper(note):
            await amake_books("Eve", 3)
            assert len(await Book.objects.alist()) == 6

    await shelf(work())
    assert threads == {threading.get_ident()}
